"""The wall of a run, and what its views share, in a browser."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from browser import CHROMIUM, Browser
from safetensors.numpy import load_file
from test_dashboard import enter, page_of
from test_reader import SIZES, listed, ready, require_accessible, text_of

from saev.analyze.artifact import LATENTS, TABLE
from saev.dashboard import artifact as names
from saev.dashboard.scripts import embedded

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]
# 6,000 latents, which share the images of the few that there are.
MANY = """
(() => {
  const [data, heat, few] = [dataOf, heatOf, about.n_latents];
  dataOf = (latent) => data(latent % few);
  heatOf = (latent) => heat(latent % few);
  about.n_latents = 6000;
  shown = Array.from({ length: 6000 }, (_, i) => i);
  const each = stripLength();
  for (const key of ["rows", "patches"]) {
    const from = strongestOfAll[key];
    const of = (_, i) => from[i % (each * few)];
    strongestOfAll[key] = Int32Array.from({ length: each * 6000 }, of);
  }
  showView();
})()
"""
SEEN = "Boolean(document.elementFromPoint(640, 150)?.closest('#wall'))"
TILE = "[...document.querySelectorAll('#wall a')].find((a) => a.getBoundingClientRect().top > 200)"
OPENED = "!document.getElementById('latent').hidden"
BACK = "!document.getElementById('list').hidden"


def value(browser, expression):
    return json.loads(browser.run(f"JSON.stringify({expression})"))


def on_wall(browser):
    """The latents of the tiles, in the order of the document."""
    browser.wait("document.querySelector('#wall li') !== null")
    hashes = value(browser, "[...document.querySelectorAll('#wall a')].map((a) => a.hash)")
    return [int(text.rpartition("latent=")[2].partition("&")[0]) for text in hashes]


def open_map(browser, address):
    browser.open(address)
    browser.wait("plotted?.latents.length > 0")


CARDS = "[...document.querySelectorAll('#cards .card')]"


def rows_of(tops):
    return tops[tops >= 0].tolist()


def images_of_cards(browser):
    """For each card of the list, the rows of its images."""
    sources = "[...card.querySelectorAll('img')].map(({ src }) => src)"
    cards = value(browser, f"{CARDS}.map((card) => {sources})")
    return [[int(Path(url).stem) for url in urls] for urls in cards]


def test_cards_that_can_be_seen_get_their_images_first_and_the_next_page_is_read_ahead(vit):
    path = page_of(vit, "patches")
    figures = pq.read_table(path.parent.parent / TABLE).to_pandas()
    tops = load_file(path.parent.parent / LATENTS)["top_rows"][:, :16]

    def in_order(column, rising=False):
        by = [column, "image_count", "latent"]
        return figures.sort_values(by, ascending=[rising, False, True]).latent.to_numpy()

    with Browser(390, 560) as browser:
        browser.open(f"{path.as_uri()}#min=0&sort=fire_rate")
        browser.wait("ahead.size > 0")
        seen = value(browser, f"{CARDS}.filter(isInWindow).length")
        assert 0 < seen < 3
        read = value(browser, "[...ahead].map(({ src }) => src)")
        following = tops[in_order("fire_rate")[24 : 24 + seen]]
        assert [int(Path(url).stem) for url in read] == rows_of(following)
        # From here on, cards in another order need no other data.
        browser.run("dataOf = () => Promise.reject(new Error('another script was read')); 0")
        browser.run("restart({ sort: 'mean_activation' })")
        browser.wait(f"{CARDS}.every((card) => card.querySelector('img'))")
        expected = [rows_of(tops[i]) for i in in_order("mean_activation")[:24]]
        assert images_of_cards(browser) == expected
        assert "another script" not in text_of(browser, "#found")
        # Others wait until those that can be seen have arrived.
        browser.run("arrived = () => new Promise(() => {}); restart({ down: false })")
        browser.run("cardsFilled.then(() => { window.isFilled = true }); 0")
        browser.wait("window.isFilled")
        first = in_order("mean_activation", rising=True)[:seen]
        assert images_of_cards(browser) == [rows_of(tops[i]) for i in first] + [[]] * (24 - seen)


def test_the_wall_has_the_order_of_the_table_for_a_sort_and_filters(vit):
    path = page_of(vit, "patches")
    figures = pq.read_table(path.parent.parent / TABLE).to_pandas()
    n, lift = int(figures.image_count.median()) - 9, round(figures["label_lift.animal"].median(), 2)
    enough = (figures.image_count >= n) & (figures["label_lift.animal"] >= lift)
    by, kept = ["mean_activation", "image_count", "latent"], figures[enough]
    kept = kept.sort_values(by, ascending=[False, False, True])
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#view=wall&sort=mean_activation&min={n}&lift={lift}")
        assert 4 < len(kept) < len(figures)
        assert on_wall(browser) == kept.latent.tolist()
        browser.run("document.getElementById('c-down').click()")
        rising = kept.sort_values(by, ascending=[True, False, True])
        assert on_wall(browser) == rising.latent.tolist()
        # The search, the chips and the stars are those of the list.
        browser.run(f"annotate({rising.latent.iloc[2]}, {{ star: true }})")
        browser.run("document.querySelector('#chips [value=noted]').click()")
        assert on_wall(browser) == [rising.latent.iloc[2]]
        assert browser.run("document.querySelectorAll('#wall .starred').length") == 1
        browser.run("document.querySelector('#chips button').click()")
        whole = listed(browser)
        browser.run("namesRead = true; saevData.names = { keys: [], latents: [] }")
        enter(browser, "find", "dog")
        assert on_wall(browser) == listed(browser)
        assert set(listed(browser)) < set(whole)
        dogs = figures[figures["top_label.animal"] == "dog"].latent
        assert set(listed(browser)) == set(whole) & set(dogs)
        enter(browser, "find", "no such label")
        assert "No latent passes" in text_of(browser, "#wall")
        browser.run("document.querySelector('#views [value=map]').click()")
        assert "No latent passes" in text_of(browser, "#map-missed")


def test_a_crop_surrounds_the_strongest_patch_and_a_key_shows_the_whole_image(vit):
    path = page_of(vit, "patches")
    tensors = load_file(path.parent.parent / LATENTS)
    rows, patches = tensors["top_rows"][:, 0], tensors["top_patches"][:, 0]
    tile = (
        "[...document.querySelectorAll('#wall a')].map((a) => {"
        "const [b, i] = [a, a.querySelector('img')].map((n) => n?.getBoundingClientRect());"
        "return [Number(a.hash.split('latent=')[1].split('&')[0]), a.querySelector('img')?.src,"
        "b.x, b.y, b.width, b.height, i?.x, i?.y, i?.width, i?.height] })"
    )
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#view=wall&min=0")
        on_wall(browser)
        browser.wait("[...document.querySelectorAll('#wall img')].every((i) => i.complete)")
        browser.wait("[...document.querySelectorAll('#wall img')].every((i) => i.style.width)")
        grid = value(browser, "about.grid")
        seen = 0
        for latent, src, x, y, width, height, *image in value(browser, tile):
            if rows[latent] < 0:
                assert src is None
                continue
            assert src.endswith(names.thumbnail(int(rows[latent])))
            line, column = divmod(int(patches[latent]), grid[1])
            left, top = image[0] - x, image[1] - y
            # The patch is inside of the tile, and the image covers the tile.
            assert left + image[2] * column / grid[1] >= -0.5
            assert left + image[2] * (column + 1) / grid[1] <= width + 0.5
            assert top + image[3] * line / grid[0] >= -0.5
            assert top + image[3] * (line + 1) / grid[0] <= height + 0.5
            assert left <= 0.5
            assert left + image[2] >= width - 0.5
            assert image[2] == pytest.approx(width / 0.75, rel=0.02)  # 3 of 4 patches
            seen += 1
        assert seen > 20
        browser.press("w")
        assert browser.run("document.querySelectorAll('#wall .crop').length") == 0
        assert browser.run("document.querySelectorAll('#wall .frame').length") == seen
        browser.wait("location.hash.includes('whole=true')")
        browser.run("document.querySelector('#tools button').click()")
        assert browser.run("document.querySelectorAll('#wall .crop').length") == seen
        browser.open(f"{page_of(vit, 'cls').as_uri()}#view=wall&min=0")
        on_wall(browser)
        assert browser.run("document.querySelectorAll('#wall .crop, #tools button').length") == 0
        assert browser.run("document.querySelectorAll('#wall img').length") > 10


def test_the_wall_keeps_only_what_is_near_and_back_returns_to_the_same_place(vit):
    path = page_of(vit, "patches")
    with Browser(1280, 720) as browser:
        browser.open(f"{path.as_uri()}#view=wall&min=0")
        on_wall(browser)
        browser.run(MANY)
        counts = []
        for part in range(11):
            browser.run(f"window.scrollTo(0, {part / 10} * document.body.scrollHeight)")
            browser.run("scrolled()")
            counts.append(browser.run("document.querySelectorAll('#wall li').length"))
            assert browser.run(SEEN)
        assert max(counts) < 600
        browser.run("window.scrollTo(0, 12345)")
        browser.wait("state.page === pageSeen() && scrollY === 12345")
        browser.run(f"{TILE}.click()")
        browser.wait(OPENED)
        assert browser.run("window.scrollY") == 0
        browser.run("history.back()")
        browser.wait(BACK)
        assert browser.run("window.scrollY") == 12345
        assert browser.run("document.activeElement.closest('#wall li') !== null")
        # Opened again, and left by Esc after a walk: the latent that was last open is in view.
        browser.run(f"{TILE}.click()")
        browser.wait(OPENED)
        for _ in range(3):
            browser.press("ArrowRight")
        last = browser.run("state.latent")
        ready(browser, last)
        browser.press("Escape")
        browser.wait(BACK)
        assert f"Latent {last}" in browser.run("document.activeElement.ariaLabel")


def test_the_arrow_keys_walk_over_the_wall_and_one_tab_leaves_it(vit):
    path = page_of(vit, "patches")
    with Browser(390, 844) as browser:
        browser.open(f"{path.as_uri()}#view=wall&min=0")
        order = on_wall(browser)
        columns = browser.run("measured().columns")
        assert browser.run("document.querySelectorAll('#wall a[tabindex=\"0\"]').length") == 1
        browser.run("document.querySelector('#wall a').focus()")
        for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown"):
            browser.press(key)
        at = columns + 1
        assert f"latent={order[at]}" in browser.run("document.activeElement.hash")
        assert browser.run("document.querySelectorAll('#wall a[tabindex=\"0\"]').length") == 1
        for _ in range(8):
            browser.press("ArrowDown")
        place = "document.activeElement.getBoundingClientRect()"
        assert browser.run(f"{place}.top > 0 && {place}.bottom <= innerHeight")
        latent = browser.run("document.activeElement.hash").rpartition("latent=")[2]
        browser.press("Enter")
        ready(browser, latent)


def test_views_and_their_state_survive_a_reload(vit):
    path = page_of(vit, "patches")
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#min=0")
        browser.run("document.querySelector('#views [value=map]').click()")
        browser.run("go({ x: 'image_count', y: 'label_entropy.site' })")
        browser.wait("location.hash.includes('view=map') && location.hash.includes('y=label_ent')")
        browser.send("Page.reload")
        browser.wait("typeof plotted === 'object' && plotted?.latents.length > 0")
        assert browser.run("state.x + state.y") == "image_countlabel_entropy.site"
        assert browser.run("document.getElementById('c-y').value") == "label_entropy.site"
        # A view that there isn't is the list.
        browser.open(f"{path.as_uri()}#min=0&view=none&x=none&brush=[[1]]")
        assert browser.run("document.querySelectorAll('.card').length") == 24
        assert browser.run("state.brush + state.x") == "fire_rate"
    with Browser(1280, 720) as browser:
        # The wall opens at the page of the list that the reader has left, as far as it is so long.
        browser.open(f"{path.as_uri()}#min=0&view=wall&page=1")
        on_wall(browser)
        browser.run(MANY)
        assert browser.run("state.page") in (0, 1)
        browser.run("restart({ page: 50 }); showView()")
        assert browser.run("pageSeen()") == 50
        assert browser.run(SEEN)


def test_scripts_of_blocks_are_dropped_again_but_for_the_last_forty(changed):
    path = page_of(changed, "patches")
    text = (path.parent / names.block(0)).read_text()
    for number in range(1, 60):
        other = text.replace('"block 0"', f'"block {number}"', 1)
        (path.parent / names.block(number)).write_text(other)
    blocks = "Object.keys(saevData).filter((key) => key.startsWith('block'))"
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#min=0")
        browser.run(
            "figures.place = Int32Array.from({ length: 60 * 64 }, (_, i) => i); "
            "window.read = 0; (async () => { for (let i = 0; i < 60; i++) { "
            "if ((await dataOf(64 * i)).rows.length) window.read++ } })(); 0"
        )
        browser.wait("window.read === 60")
        assert browser.run(f"{blocks}.length") == 40
        assert browser.run("document.querySelectorAll('head script').length") == 0
        # One that was used stays, and one that was dropped comes back.
        browser.run(
            "window.read = 0; dataOf(64 * 20).then(() => dataOf(64 * 3))"
            ".then((data) => { window.read = data.rows.length }); 0"
        )
        assert browser.wait("window.read") > 9
        kept = value(browser, blocks)
        assert {"block 20", "block 3"} < set(kept)
        assert "block 21" not in kept
        assert len(kept) == 40


def test_typing_or_choosing_a_view_beside_a_latent_leads_back_to_all_of_them(vit):
    path = page_of(vit, "patches")
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#view=wall&min=0")
        assert 12 in on_wall(browser)
        browser.run("openLatent(12)")
        ready(browser, 12)
        assert "← Wall" in text_of(browser, "#latent .bar")
        assert not browser.run("document.getElementById('c-sort').checkVisibility()")
        browser.press("/")
        assert browser.run("document.activeElement.id") == "c-find"
        # Two keys before the browser is back.
        browser.run(
            "(f => { for (f.value of ['1', '12']) f.dispatchEvent(new Event('input')); })"
            "(document.getElementById('c-find'))"
        )
        browser.wait(BACK)
        assert browser.run("document.activeElement.id") == "c-find"
        assert browser.run("state.find + history.state.depth") == "120"
        assert 12 in on_wall(browser)
        browser.run("openLatent(12)")
        ready(browser, 12)
        browser.run("document.querySelector('#views [value=map]').click()")
        browser.wait(BACK)
        browser.wait("plotted?.latents.length > 0")
        assert browser.run("state.view + state.latent") == "mapnull"


def test_esc_leads_back_from_more_latents_than_a_browser_remembers(vit):
    path = page_of(vit, "patches")
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#min=0")
        browser.run("for (let i = 0; i < 60; i++) openLatent(i % 40)")
        ready(browser, 19)
        browser.press("Escape")
        browser.wait(BACK)
        browser.wait("!location.hash.includes('latent')")
        assert browser.run("history.state.depth") == 0
        browser.run("openLatent(7)")
        ready(browser, 7)
        browser.press("Escape")
        browser.wait(BACK)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}-{'dark' if s[2] else 'light'}")
def test_axe_finds_no_violation_in_the_views_and_nothing_is_asked_for(vit, size):
    with Browser(*size) as browser:
        browser.send("Log.enable")
        path = page_of(vit, "patches")
        browser.open(f"{path.as_uri()}#view=wall&min=0")
        on_wall(browser)
        assert browser.run("at('wall').getBoundingClientRect().top") <= (
            160 if size[0] > 720 else 250
        )
        require_accessible(browser)
        browser.run("document.querySelector('#wall a').focus()")
        require_accessible(browser)
        open_map(browser, f"{path.as_uri()}#view=map&min=0")
        browser.run("annotate(plotted.latents[0], { star: true }); pick(plotted.latents[1])")
        browser.wait("document.querySelector('#map-card img') !== null")
        browser.run("selectWithin(...[1, 1, 9999, 9999])")
        require_accessible(browser)
        browser.run("go({ lasso: true }); selectInside([[1, 1], [9999, 1], [9999, 9999]])")
        require_accessible(browser)
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        assert browser.requests() == {"file"}
        wrong = [
            event["params"]
            for event in browser.events
            if event.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")
        ]
        assert wrong == []


def test_hostile_labels_do_nothing_in_the_views(changed):
    path = page_of(changed, "patches")
    evil = '</script><img src=x onerror="window.broken=1">\u202ecat' + "x" * 5000
    for name in (names.FIGURES, names.block(0)):
        file = path.parent / name
        file.write_text(file.read_text().replace('"cat"', embedded(evil)))
    for file in (path, path.parent / names.FIGURES):
        text = file.read_text()
        text = text.replace('"animal"', embedded(evil)).replace(
            ".animal", "." + embedded(evil)[1:-1]
        )
        file.write_text(text)
    with Browser(390, 844) as browser:
        browser.send("Log.enable")
        browser.open(f"{path.as_uri()}#view=wall&min=0")
        latents = on_wall(browser)
        assert "<img src=x" in text_of(browser, "#wall")
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        open_map(browser, f"{path.as_uri()}#view=map&min=0")
        for latent in latents[:6]:
            browser.run(f"pick({latent})")
        browser.run("selectWithin(...[1, 1, 9999, 9999])")
        assert "<img src=x" in text_of(browser, "#brushed")
        browser.wait("document.querySelector('#map-card img') !== null")
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        assert browser.run("document.querySelectorAll('img[src=x]').length") == 0
        assert browser.run("window.broken") is None
        assert "\u202e" not in browser.run("document.body.innerText")
        assert browser.requests() == {"file"}


def test_a_run_without_labels_has_a_wall_and_a_map(changed):
    path = page_of(changed, "patches")
    text = path.read_text()
    assert '"labels":["animal","site"]' in text
    path.write_text(text.replace('"labels":["animal","site"]', '"labels":[]'))
    with Browser() as browser:
        open_map(browser, f"{path.as_uri()}#view=map&min=0")
        assert browser.run("state.y") == "mean_activation"
        browser.run("document.querySelector('#views [value=wall]').click()")
        assert on_wall(browser) == listed(browser)


def test_data_that_is_cut_off_or_damaged_is_said_and_never_shown_as_an_empty_page(changed):
    path = page_of(changed, "patches")
    of_latents = (names.block(0), names.heat(0), names.directions(0), names.image_block(0))
    files = (names.FIGURES, names.STRONGEST, *of_latents, names.PROJECTION, names.GIVEN)
    whole = {name: (path.parent / name).read_text() for name in files}
    figures = whole[names.FIGURES]
    at = figures.index('"values":"H4sI') + 40
    other = figures[:at] + ("A" if figures[at] != "A" else "B") + figures[at + 1 :]
    damages = [
        *((name, text[:-9], name, "") for name, text in whole.items() if name != names.STRONGEST),
        (names.STRONGEST, whole[names.STRONGEST][:-9], names.STRONGEST, "&view=wall"),
        (names.FIGURES, figures.replace("H4sI", "H4*I"), "The data of this page", ""),
        (names.FIGURES, other, "The data of this page", ""),
    ]
    for name, text, said, view in damages:
        (path.parent / name).write_text(text)
        shown = {
            names.heat(0): "&latent=1",
            names.directions(0): "&view=compare",
            names.image_block(0): "&row=0",
        }
        with Browser() as browser:
            address = f"{path.as_uri()}#min=0&heat=heat{shown.get(name, view)}"
            browser.send("Page.navigate", url=address)
            message = json.dumps(f"{said} is damaged. Was the folder copied whole?")
            browser.wait(f"document.querySelector('main')?.innerText.includes({message})")
            if name == names.heat(0):  # all but the maps is there
                assert browser.run("document.querySelectorAll('#latent figure').length") > 0
        (path.parent / name).write_text(whole[name])


def test_a_browser_that_can_not_inflate_data_is_told_so(changed):
    path = page_of(changed, "patches")
    with Browser(390, 844) as browser:
        old = "delete window.DecompressionStream"
        browser.send("Page.addScriptToEvaluateOnNewDocument", source=old)
        browser.send("Page.navigate", url=path.as_uri())
        browser.wait("document.querySelector('[role=alert].nothing') !== null")
        said = "This browser is too old to read the data of the page. Use a newer one."
        assert text_of(browser, "#cards") == said


def test_a_run_of_one_latent_has_nothing_to_compare_and_says_so(vit):
    path = page_of(vit, "patches")
    with Browser() as browser:
        browser.open(path.as_uri())
        browser.run("about.n_latents = 1; go({ view: 'compare' })")
        said = "document.querySelector('#view-compare [role=alert]')?.innerText"
        assert browser.wait(said) == "This run has one latent, so there is no other."
