"""Images that a reader stars: they are kept, come back from a file, and can be contrasted."""

import json

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from page_data import script_data
from test_contrast import items, largest, newcombe, sides
from test_dashboard import page_of
from test_reader import require_accessible, text_of

from saev.dashboard import artifact as names
from saev.dashboard.image_pages import N_STRONGEST

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")]


def star(browser, rows):
    """Star images without opening them."""
    for row in rows:
        browser.run(f"imageStar({row}, 'image {row}').click()")


def choose(browser, field, title):
    """Choose what stands on a side by how its title starts."""
    browser.run(
        f"(s => {{ s.selectedIndex = [...s.options].findIndex((o) => o.text.startsWith({title!r}));"
        f" s.dispatchEvent(new Event('change')) }})(document.getElementById('c-{field}-side')); 0"
    )


def test_starred_images_are_kept_for_all_dictionaries_and_come_back_from_a_file(vit):
    path, other = page_of(vit, "patches"), page_of(vit, "cls")
    shown = script_data(path.parent / names.NAMES)
    row, key = shown["rows"][3], shown["keys"][3]
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#min=0&row={row}")
        browser.wait("document.querySelector('#image .star') !== null")
        browser.run("window.scrollTo(0, 40)")
        browser.press("s")
        assert text_of(browser, "#image .star") == "★"
        assert browser.run("window.scrollY") == 40
        saved = json.loads(browser.run("notesAsJson()"))
        assert saved["images"] == {
            "of": vit.parent.name,
            "starred": [{"row": row, "key": key}],
        }
        browser.send("Page.navigate", url="about:blank")
        browser.open(f"{other.as_uri()}#min=0&chip=noted")
        assert text_of(browser, "#images-found h2") == "1 starred image"
        browser.run("document.querySelector('#images-found a').click()")
        browser.wait("document.querySelector('#image .star') !== null")
        browser.press("s")
        assert json.loads(browser.run("notesAsJson()"))["images"]["starred"] == []
        browser.press("Escape")
        browser.wait("!document.getElementById('list').hidden")
        assert browser.run("document.querySelector('#images-found h2')") is None
        # From a grid, an image is starred where it is large.
        browser.run("openLatent(shown[0] ?? 0)")
        browser.wait("document.querySelector('.enlarge') !== null")
        browser.run("document.querySelector('.enlarge').click()")
        browser.run("document.querySelector('#large .star').click()")
        assert browser.run("starredImages.size") == 1
        browser.run("starredImages.clear()")
        # A file adds its stars, but those of other images change nothing, and no row is made up.
        saved["dictionary"] = browser.run("subject()")
        browser.run(f"importNotes({json.dumps(json.dumps(saved))}, 'a.json')")
        assert text_of(browser, "#notes-said") == "0 notes and 1 starred images read from a.json."
        foreign = saved | {"images": {"of": "elsewhere", "starred": [{"row": 1, "key": "x"}]}}
        wrong = saved | {"images": {"of": vit.parent.name, "starred": [{"row": "x"}]}}
        for content in (foreign, wrong):
            browser.run(f"importNotes({json.dumps(json.dumps(content))}, 'b.json')")
            assert browser.run("[...starredImages.keys()].join()") == str(row)
        assert text_of(browser, "#notes-said").startswith("b.json wasn't read: ")


def test_starred_images_are_contrasted_by_the_strongest_latents_of_each_image(vit):
    values, labels, _ = largest(vit, "patches")
    path, labels = page_of(vit, "patches"), np.array(labels)
    rows = np.array(script_data(path.parent / names.NAMES)["rows"])
    order = np.argsort(-values, axis=1, kind="stable")[:, :N_STRONGEST]
    counted = np.zeros(values.shape, bool)
    np.put_along_axis(counted, order, True, axis=1)
    counted &= values > 0
    assert (counted.sum(1) < (values > 0).sum(1)).any()
    mine = rows[labels[rows] == "cat"][:9]
    rest = np.setdiff1d(rows, mine)
    cats = rest[labels[rest] == "cat"]

    def expected(others):
        hits, against = counted[mine].sum(0), counted[others].sum(0)
        low, high = newcombe(hits, len(mine), against, len(others))
        sure = np.maximum(0, np.maximum(low, -high))
        value = hits / len(mine) - against / len(others)
        by = np.lexsort((np.arange(len(value)), -np.abs(value).round(9), -sure.round(9)))
        return [j for j in by.tolist() if hits[j] or against[j]], hits, against

    with Browser(1440, 900) as browser:
        browser.open(f"{path.as_uri()}#min=0&view=contrast")
        assert browser.run("STRONGEST") == N_STRONGEST
        star(browser, mine[:4].tolist())
        choose(browser, "a", "★")
        browser.wait("document.querySelector('#view-contrast .nothing') !== null")
        said = text_of(browser, "#view-contrast .nothing")
        assert said.startswith("4 images of this page are starred, and 5 are needed")
        star(browser, [*mine[4:].tolist(), 99_999])
        browser.wait("document.querySelector('.versus') !== null")
        choose(browser, "b", "all other")
        browser.wait("state.b === ''")
        browser.wait(
            "document.querySelectorAll('.half-label')[1]?.textContent === 'all other images'"
        )
        latents, hits, against = expected(rest)
        assert items(browser) == latents
        first = text_of(browser, ".versus")
        assert f"{hits[latents[0]]} of {len(mine)} ·" in first
        assert f"{against[latents[0]]} of {len(rest)} ·" in first
        assert "mean" not in first
        told = browser.run("document.getElementById('view-contrast').textContent")
        part = f"Only {len(rows)} of 300 images" if len(rows) < 300 else ""
        assert part in told
        assert "1 more are starred, but not on this page" in told
        # The swap and a label.
        browser.run("document.getElementById('c-swap').click()")
        browser.wait("state.starred === 'b'")
        choose(browser, "a", "cat")
        browser.wait("document.querySelector('.half-label')?.textContent === 'cat'")
        assert sides(browser) == "cat | ★"
        latents, hits, against = expected(cats)
        assert items(browser) == latents
        assert f"{against[latents[0]]} of {len(cats)} ·" in text_of(browser, ".versus")
        told = browser.run("document.getElementById('view-contrast').textContent")
        assert (part or "as the page keeps no more of an image. 1 more") in told
        # Images say how strongly the latent fires, where the page knows it.
        shown = json.loads(
            browser.run(
                "JSON.stringify([...document.querySelectorAll('.versus')].map((v) => "
                "[...v.querySelectorAll('.side-images a')].map((a) => "
                "[Number(new URLSearchParams(a.hash.slice(1)).get('row')), "
                "parseFloat(a.querySelector('.activation i').style.width), a.textContent])))"
            )
        )
        for latent, images in zip(latents, shown, strict=True):
            for row, width, text in images:
                known = values[row, latent] * counted[row, latent] / values[:, latent].max()
                assert width == pytest.approx(100 * known, abs=0.1)
                fires = (values[row] > 0).sum()
                unknown = "silent" if fires <= N_STRONGEST else "not counted"
                assert known or text == unknown
        # It is in the address, and a label takes the place of the stars again.
        browser.wait("location.hash.includes('starred=b')")
        choose(browser, "b", "spider")
        browser.wait("state.starred === '' && document.querySelector('#c-by-mean') !== null")
        assert browser.run("[state.a, state.b].join()") == "cat,spider"
        failed = [e for e in browser.events if e.get("method") == "Runtime.exceptionThrown"]
        assert failed == []
        assert browser.requests() == {"file"}


def test_a_phone_shows_the_contrast_of_starred_images_whole(vit):
    path = page_of(vit, "patches")
    rows = script_data(path.parent / names.NAMES)["rows"]
    with Browser(390, 844, True) as browser:
        browser.open(f"{path.as_uri()}#min=0&view=contrast&starred=a")
        star(browser, rows[:6])
        browser.wait("document.querySelector('.versus') !== null")
        assert browser.run("document.documentElement.scrollWidth") <= 390
        require_accessible(browser)
