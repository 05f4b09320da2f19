"""What a reader of the page of a run does and sees, in a browser."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import CHROMIUM, Browser
from page_data import latents_of, places, script_data
from project import ROOT
from test_dashboard import enter, page_of

from saev.analyze.artifact import LATENTS, TABLE
from saev.dashboard import artifact as names
from saev.dashboard.data import write_columns
from saev.dashboard.scripts import embedded

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]
AXE = ROOT / "node_modules/axe-core/axe.min.js"
SIZES = [(1440, 900, False), (1280, 720, True), (390, 844, False), (390, 844, True)]


def table_of(path):
    return pq.read_table(path.parent.parent / TABLE).to_pydict()


def listed(browser):
    return json.loads(browser.run("JSON.stringify(shown)"))


def text_of(browser, selector):
    return browser.run(f"document.querySelector({json.dumps(selector)}).textContent")


def ready(browser, latent):
    """Wait until a latent is on the page."""
    browser.wait(
        f"document.querySelector('#latent h2')?.textContent === 'Latent {latent}' && "
        "!document.getElementById('latent').hidden"
    )


def test_a_card_says_the_label_of_its_top_images_how_many_have_it_and_its_base_rate(vit):
    path = page_of(vit, "patches")
    figures = table_of(path)
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#min=0")
        cards = json.loads(
            browser.run(
                "JSON.stringify([...document.querySelectorAll('.card')].map((c) => "
                "[c.querySelector('a').hash, c.querySelector('.name').textContent, "
                "c.querySelector('.about').textContent]))"
            )
        )
    named = 0
    for address, name, about in cards:
        latent = int(address.rpartition("latent=")[2])
        if not figures["image_count"][latent]:
            continue
        label, n = figures["top_label.animal"][latent], figures["top_label_count.animal"][latent]
        of = min(9, figures["n_valid"][latent])
        assert f"{n} of {of}, base 33 %" in about
        assert f"of all firing:\u00a0{figures['common_label.animal'][latent]}" in about
        is_named = figures["named.animal"][latent]
        assert name == (f"{label}{latent}" if is_named else f"Latent {latent}")
        named += is_named
    assert named > 3


def test_the_default_order_is_that_of_the_table_and_the_gallery_follows_it(vit):
    path = page_of(vit, "patches")
    figures = table_of(path)
    order = np.argsort(figures["order.animal"])
    expected = [j for j in order.tolist() if figures["image_count"][j] >= 16]
    with Browser() as browser:
        browser.open(path.as_uri())
        assert listed(browser) == expected
        tops = [figures["top_label.animal"][j] for j in expected if figures["named.animal"][j]]
        assert len(set(tops[:3])) == len(set(tops))  # labels take turns
        sets = (("named", figures["named.animal"]), ("positional", figures["positional"]))
        for chip, members in (*sets, ("dense", figures["dense"])):
            browser.run(f"document.querySelector('#chips [value={chip}]').click()")
            assert listed(browser) == [j for j in expected if members[j]]
        for chip, most in (("rare", 15), ("dead", 0)):
            browser.run(f"document.querySelector('#chips [value={chip}]').click()")
            counts = [figures["image_count"][j] for j in listed(browser)]
            assert all(int(most > 0) <= n <= most for n in counts)
            assert len(counts) == sum(int(most > 0) <= n <= most for n in figures["image_count"])
        browser.send("Page.navigate", url=(vit.parent.parent / "index.html").as_uri())
        browser.wait("document.querySelectorAll('article.run').length === 2")
        strips = json.loads(
            browser.run(
                "JSON.stringify([...document.querySelectorAll('.strip')].map((s) => "
                "[s.previousSibling.textContent, [...s.children].map((a) => a.href)]))"
            )
        )
    mine = [(t, [int(h.rpartition("=")[2]) for h in links]) for t, links in strips if links]
    of_patches = [(t, latents) for (t, latents), s in zip(mine, strips, strict=True)
                  if "patches-" in s[1][0]]  # fmt: skip
    assert of_patches[0] == ("First in the list", expected[:8])
    live = np.flatnonzero(np.array(figures["image_count"]) > 0)
    drawn = np.sort(np.random.default_rng(0).choice(live, 8, replace=False)).tolist()
    assert of_patches[1] == ("Drawn at random (seed 0)", drawn)


def test_sorting_and_filtering_are_those_of_the_table(vit):
    path = page_of(vit, "patches")
    figures = pq.read_table(path.parent.parent / TABLE).to_pandas()
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#sort=label_lift.animal&min=20&lift=1.2")
        kept = figures[(figures.image_count >= 20) & (figures["label_lift.animal"] >= 1.2)]
        by = ["label_lift.animal", "image_count", "latent"]
        kept = kept.sort_values(by, ascending=[False, False, True])
        assert listed(browser) == kept.latent.tolist()
        # 75 means 75 %. What means nothing is refused, and changes nothing.
        browser.open(f"{path.as_uri()}#min=0&lift=0")
        browser.run("document.getElementById('c-filters').click()")
        enter(browser, "pure", "75")
        pure = figures[figures["label_purity_top.animal"] >= 0.75].latent
        assert sorted(listed(browser)) == sorted(pure)
        enter(browser, "pure", "750")
        assert sorted(listed(browser)) == sorted(pure)
        said = "Purity ≥ takes 0 to 1, or a percentage up to 100, not 750."
        assert text_of(browser, "#refused") == said
        enter(browser, "pure", "some")
        assert text_of(browser, "#refused").endswith("not some.")
        enter(browser, "pure", "0.5")
        assert text_of(browser, "#refused") == ""
        # The order stays the same figure when the label changes.
        browser.run("go({ sort: 'label_entropy.animal' })")
        browser.run(
            "(f => { f.value = 'site'; f.dispatchEvent(new Event('change')); })"
            "(document.getElementById('c-label'))"
        )
        assert browser.run("state.sort") == "label_entropy.site"


def test_figures_that_differ_in_their_last_digits_are_sorted_and_filtered_as_by_pandas(changed):
    path = page_of(changed, "patches")
    table = pq.read_table(path.parent.parent / TABLE)
    rng, alike = np.random.default_rng(0), {}
    for name in (name for name in table.column_names if table.column(name).type == "double"):
        alike[name] = 0.3 * (1 + 4e-16 * rng.permutation(len(table)))
        at = table.column_names.index(name)
        table = table.set_column(at, name, pa.array(alike[name], mask=rng.random(len(table)) < 0.2))
    write_columns(path.parent, table, np.argsort(places(path.parent)))
    figures = table.to_pandas()
    middle = {name: float(np.median(values)) for name, values in alike.items()}
    assert all(len({f"{v:.12g}" for v in values}) == 1 for values in alike.values())
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#min=0")
        orders = {order["key"] for order in json.loads(browser.run("JSON.stringify(orders())"))}
        assert set(alike) < orders
        for key in orders:
            for down in (True, False):
                browser.run(f"go({{ sort: {json.dumps(key)}, down: {json.dumps(down)} }})")
                by = {"latent": True, "image_count": False} | {key: not down}
                by = {key: by.pop(key)} | dict(reversed(by.items()))
                expected = figures.sort_values(list(by), ascending=list(by.values()))
                assert listed(browser) == expected.latent.tolist(), key
        bounds = (("pure", "label_purity_top.animal"), ("lift", "label_lift.animal"))
        for field, name in bounds:
            browser.run("reset(); go({ sort: 'latent', down: false })")
            enter(browser, "min", "0")
            enter(browser, field, repr(middle[name]))
            kept = figures[figures[name] >= middle[name]].latent.tolist()
            assert listed(browser) == kept
            assert 0 < len(kept) < len(figures)
        browser.run("reset()")
        enter(browser, "min", "0")
        for name in alike:
            brush = json.dumps([[name, middle[name], 1]])
            browser.run(f"restart({{ brush: {json.dumps(brush)} }})")
            assert listed(browser) == figures[figures[name] >= middle[name]].latent.tolist()


def test_find_looks_at_the_names_of_images(vit):
    path = page_of(vit, "patches")
    top_rows = np.array([rows[:9] for rows in latents_of(path.parent)["rows"]])
    row, (key, *_) = next(
        (row, image)
        for row, image in latents_of(path.parent)["images"].items()
        if (top_rows == int(row)).any()
    )
    expected = np.flatnonzero((top_rows == int(row)).any(1)).tolist()
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#min=0")
        enter(browser, "find", key.upper())
        browser.wait("namesRead")
        assert sorted(listed(browser)) == expected


def test_the_rows_of_a_latent_show_what_they_say(vit):
    from safetensors.numpy import load_file

    path = page_of(vit, "patches")
    tensors, block, figures = (
        load_file(path.parent.parent / LATENTS),
        latents_of(path.parent),
        table_of(path),
    )
    about = json.loads(path.read_text().partition("<script>start(")[2].partition(");</script>")[0])
    places = {row["name"]: slice(row["first"], row["last"]) for row in about["rows"]}
    assert places["silent"].stop == len(block["rows"][0])
    labels = ["animal", "site"]
    many = silent = 0
    for latent, (rows, values) in enumerate(zip(block["rows"], block["values"], strict=True)):
        at = {name: rows[place] for name, place in places.items()}
        if figures["image_count"][latent] <= 9:
            others = [at[name] for name in at if name not in ("top", "silent")]
            assert {row for rows in others for row in rows} == {-1}
        else:
            many += 1
            sample = tensors["drawn_rows"][latent]
            assert at["random"] == sample[:8].tolist()
            assert at["weakest"] == tensors["weakest_rows"][latent].tolist()
            of_row = dict(zip(sample.tolist(), tensors["drawn_values"][latent], strict=True))
            ranked = sorted((v for r, v in of_row.items() if r >= 0), reverse=True)
            for q in (75, 50, 25):
                found = [of_row[row] for row in at[f"at-{q}"] if row >= 0]
                assert found == sorted(found, reverse=True)
                if len(ranked) > 8:
                    assert min(found) <= np.quantile(ranked, q / 100) <= max(found)
        index, n_drawn, n_silent = block["silent"][latent]
        shown = [row for row in at["silent"] if row >= 0]
        assert len(shown) == min(8, n_silent) <= n_drawn <= 24
        fires = {row for row in rows[: places["silent"].start] if row >= 0}
        assert not fires & set(shown)
        for row in shown:
            silent += 1
            text = block["texts"][block["images"][str(row)][1 + index]]
            assert text == figures[f"top_label.{labels[index]}"][latent]
        assert all(value == 0 for value in values[places["silent"]] if value is not None)
    assert many > 10 < silent
    most = max(range(len(figures["image_count"])), key=figures["image_count"].__getitem__)
    of_cls = page_of(vit, "cls")
    counts = table_of(of_cls)["image_count"]
    few = next(j for j, n in enumerate(counts) if 0 < n <= 9)
    with Browser() as browser:
        browser.open(f"{of_cls.as_uri()}#latent={few}")
        ready(browser, few)
        assert f"It fires on {counts[few]} image" in text_of(browser, ".image-rows")
        browser.open(f"{path.as_uri()}#min=0")
        browser.run(f"openLatent({most})")
        ready(browser, most)
        titles = browser.run(
            "[...document.querySelectorAll('.image-row h3 .term')].map((t) => t.textContent).join()"
        )
        assert titles.startswith("Strongest,Around the 75% quantile,Around the 50% quantile")
        assert "Weakest,At random" in titles
        bars = browser.run("document.querySelectorAll('.label-bars li').length")
        assert bars == len(figures["firing_labels.animal"][most])


def test_an_image_lists_the_latents_that_fire_most_strongly_on_it(vit):
    for kind in ("patches", "cls"):
        path = page_of(vit, kind)
        block = latents_of(path.parent)
        found = script_data(path.parent / names.NAMES)
        images = script_data(path.parent / names.image_block(0))
        assert found["rows"] == sorted({r for rows in block["rows"] for r in rows if r >= 0})
        # The analysis has kept some of the same activations, on a way of its own.
        kept = {row: {} for row in found["rows"]}
        for latent, rows in enumerate(block["rows"]):
            for slot, row in enumerate(rows):
                if row >= 0 and block["values"][latent][slot]:
                    entry = block["values"][latent][slot], block["patches"][latent][slot]
                    kept[row][latent] = entry
        compared = 0
        for place, row in enumerate(found["rows"][: len(images["latents"])]):
            latents, values = images["latents"][place], images["values"][place]
            assert values == sorted(values, reverse=True)
            assert len(latents) == min(16, images["n_latents"][place])
            for latent, (value, patch) in kept[row].items():
                if latent not in latents:
                    assert value <= values[-1] * 1.001
                    continue
                at = latents.index(latent)
                assert values[at] == pytest.approx(value, rel=2e-3)
                assert images["patches"][place] == [] or images["patches"][place][at] == patch
                compared += 1
        assert compared > 100


def test_a_reader_goes_from_the_name_of_an_image_to_its_latents_and_back(vit):
    path = page_of(vit, "patches")
    found = script_data(path.parent / names.NAMES)
    key, row = found["keys"][3], found["rows"][3]
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#min=0")
        enter(browser, "find", key)
        browser.wait("document.querySelectorAll('#images-found a').length === 1")
        require_accessible(browser)
        browser.run("document.querySelector('#images-found a').click()")
        browser.wait("document.querySelectorAll('.image-latents li').length > 3")
        assert text_of(browser, "#image h2") == key
        assert f"row={row}" in browser.run("location.hash")
        require_accessible(browser)
        link = "document.querySelector('.image-latents a')"
        assert not browser.run("document.querySelector('.big .frame')")
        browser.run(f"{link}.dispatchEvent(new Event('pointerenter'))")
        assert browser.run("document.querySelector('.big .frame') !== null")
        # Pointing at that patch marks its latents; another one doesn't.
        browser.run(f"imageOf({row}).then((found) => {{ window.there = found; }}); 0")
        patches = browser.wait("window.there?.patches")
        for place in {patches[0], patches[-1]}:
            browser.run(
                f"(([h, w], box) => document.querySelector('.big').dispatchEvent(new PointerEvent("
                f"'pointermove', {{ clientX: box.left + box.width * ({place} % w + 0.5) / w, "
                f"clientY: box.top + box.height * (Math.floor({place} / w) + 0.5) / h }})))"
                "(about.grid, document.querySelector('.big img').getBoundingClientRect())"
            )
            marked = browser.run(
                "[...document.querySelectorAll('.image-latents li')]"
                ".map((line) => line.classList.contains('here'))"
            )
            assert marked == [patch == place for patch in patches]
        browser.run("anyImage = () => saevData.names.rows[0]")
        browser.run("[...document.querySelectorAll('#image .bar button')].at(-1).click()")
        browser.wait("state.row === saevData.names.rows[0]")
        browser.run("history.back()")
        browser.wait(
            f"state.row === {row} && document.querySelector('#image h2').textContent === "
            f"{json.dumps(key)}"
        )
        latent = browser.run(f"{link}.hash").rpartition("latent=")[2]
        browser.run(f"{link}.click()")
        ready(browser, latent)
        browser.run("history.back()")
        browser.wait("!document.getElementById('image').hidden")
        assert browser.run("document.getElementById('latent').hidden")
        browser.press("Escape")
        browser.wait("!document.getElementById('list').hidden")
        assert browser.run("document.getElementById('c-find').value") == key
        # From a grid: large, then all its latents.
        browser.run(f"openLatent({latent})")
        ready(browser, latent)
        browser.run("document.querySelector('.enlarge').click()")
        browser.wait("document.querySelector('#large img').naturalWidth")
        assert (
            browser.run("document.querySelector('#large img').src")
            .rpartition("pictures/")[2]
            .startswith("large/")
        )
        browser.run("document.querySelector('#large p ~ button').click()")
        browser.wait("document.querySelectorAll('.image-latents li').length > 3")
        assert not browser.run("document.getElementById('large').open")
        browser.run("go({ row: 123456 })")
        browser.wait("document.getElementById('image').textContent.includes('No latent shows')")


def test_stars_and_notes_are_kept_and_come_back_from_a_file(vit):
    path = page_of(vit, "patches")
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#min=0")
        first, second = listed(browser)[:2]
        browser.run(f"openLatent({first})")
        ready(browser, first)
        browser.press("s")
        given = "<b>fin</b> \u202e"
        browser.run(
            f"(f => {{ f.value = {json.dumps(given)}; f.dispatchEvent(new Event('change')); }})"
            "(document.querySelector('.note input'))"
        )
        require_accessible(browser)
        saved = json.loads(browser.run("notesAsJson()"))
        wanted = {"latent": first, "star": True, "name": given, "note": ""}
        assert saved["latents"] == [wanted]
        # The same browser has them the next time, finds them, and lists them alone.
        browser.send("Page.navigate", url="about:blank")
        browser.open(f"{path.as_uri()}#min=0&chip=noted")
        assert listed(browser) == [first]
        assert "★<b>fin</b> ⟨202E⟩" in text_of(browser, ".card")
        enter(browser, "find", "fin</b>")
        assert listed(browser) == [first]
        enter(browser, "find", "")
        # A file adds its notes. One about another dictionary, or of no notes, changes nothing.
        other = saved | {"latents": [{"latent": second, "star": False, "name": "", "note": "x"}]}
        for wrong in (other | {"dictionary": "another"}, {"latents": []}, other | {"version": 2}):
            browser.run(f"importNotes({json.dumps(json.dumps(wrong))}, 'wrong.json')")
            assert text_of(browser, "#notes-said").startswith("wrong.json wasn't read: ")
        browser.run("importNotes('no JSON', 'text.json')")
        assert text_of(browser, "#notes-said").startswith("text.json wasn't read: ")
        assert listed(browser) == [first]
        browser.run(f"importNotes({json.dumps(json.dumps(other))}, 'other.json')")
        assert text_of(browser, "#notes-said") == "1 note read from other.json."
        assert sorted(listed(browser)) == sorted([first, second])
        assert [e["latent"] for e in json.loads(browser.run("notesAsJson()"))["latents"]] == sorted(
            [first, second]
        )


def test_n_goes_to_the_name_and_the_question_mark_shows_the_keys(vit):
    with Browser() as browser:
        browser.open(f"{page_of(vit, 'patches').as_uri()}#min=0")
        browser.press("?")
        browser.wait("document.querySelector('#tip:popover-open') !== null")
        assert "n names" in text_of(browser, "#tip")
        require_accessible(browser)
        browser.run("document.getElementById('tip').hidePopover()")
        latent = listed(browser)[0]
        browser.run(f"openLatent({latent})")
        ready(browser, latent)
        browser.press("n")
        assert browser.run("document.activeElement.getAttribute('aria-label')") == (
            "Your name for it"
        )
        # The key isn't typed into the field, and s is text there.
        browser.press("s")
        assert browser.run("document.activeElement.value + notes.size") == "0"


def test_esc_the_arrows_and_back_keep_the_map_the_page_and_the_place(vit):
    path = page_of(vit, "patches")
    with Browser(900, 600) as browser:
        browser.open(f"{path.as_uri()}#min=0")
        browser.run("go({ page: 1 }); window.scrollTo(0, 400)")
        first, second = listed(browser)[24:26]
        browser.run(f"document.getElementById('card-{first}').click()")
        ready(browser, first)
        browser.press("h")
        browser.wait("document.querySelector('#latent canvas') !== null")
        assert browser.run("state.heat") == "spotlight"
        browser.press("ArrowRight")
        ready(browser, second)
        other = browser.run("document.querySelector('.near a').hash").rpartition("latent=")[2]
        browser.run("document.querySelector('.near a').click()")
        ready(browser, other)
        browser.run("go({ log: true }); history.back()")
        ready(browser, second)
        assert browser.run("state.heat") == "spotlight"
        assert browser.run("state.log") is True
        browser.run("history.forward()")
        ready(browser, other)
        browser.press("Escape")
        browser.wait("!document.getElementById('list').hidden")
        browser.wait("!location.hash.includes('latent')")
        assert browser.run("state.page") == 1
        assert browser.run("state.heat") == "spotlight"
        assert "heat=spotlight" in browser.run("location.hash")
        assert abs(browser.run("window.scrollY") - 400) < 5
        # One step back from the list leads out of the page, not to a latent that was closed.
        assert browser.run("history.state.depth") == 0


def test_names_that_are_long_or_change_the_direction_of_a_text_break_nothing(changed):
    path = page_of(changed, "patches")
    taxon = "Animalia_Chordata_Aves_Passeriformes_Fringillidae_Fringilla_coelebs_maderensis_tail"
    huge = "x" * 10_000 + "END"
    replaced = {"cat": taxon, "dog": huge, "spider": "\u202elive\u202c"}
    for name in (names.FIGURES, names.block(0)):
        file = path.parent / name
        text = file.read_text()
        for old, new in replaced.items():
            text = text.replace(f'"{old}"', embedded(new))
        file.write_text(text.replace('"cat/', '"' + taxon + "/"))
    for width in (1440, 390):
        with Browser(width, 844) as browser:
            browser.open(f"{path.as_uri()}#min=0")
            shown_names = text_of(browser, "#cards")
            assert "⟨202E⟩live" in shown_names
            assert "\u202e" not in browser.run("document.documentElement.outerHTML")
            assert huge not in shown_names
            assert "END" in shown_names
            fits = "document.documentElement.scrollWidth <= window.innerWidth"
            assert browser.run(fits)
            # The end of a name, which tells it from others, is in view.
            tails = "[...document.querySelectorAll('.card .name .tail')]"
            assert browser.run(
                f"{tails}.every((t) => t.getBoundingClientRect().right <= "
                "t.closest('.card').getBoundingClientRect().right)"
            )
            latent = listed(browser)[0]
            browser.run(f"openLatent({latent})")
            ready(browser, latent)
            assert browser.run(fits)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}-{'dark' if s[2] else 'light'}")
def test_images_come_first_and_axe_finds_no_violation(vit, size):
    with Browser(*size) as browser:
        path = page_of(vit, "patches")
        browser.open(f"{path.as_uri()}#min=0")
        top = browser.run("document.querySelector('.card').getBoundingClientRect().top")
        assert top <= (160 if size[0] > 720 else 215)
        browser.run("document.getElementById('c-filters').click()")
        browser.run("document.querySelector('.run-card').open = true")
        require_accessible(browser)
        latent = listed(browser)[0]
        browser.run(f"openLatent({latent})")
        ready(browser, latent)
        require_accessible(browser)
        browser.run("document.querySelector('.enlarge').click()")
        browser.wait("document.getElementById('large').open")
        width = browser.run("document.querySelector('#large .picture').offsetWidth")
        assert width >= min(384, size[0] - 90)
        require_accessible(browser)
        browser.send("Page.navigate", url=(vit.parent.parent / "index.html").as_uri())
        browser.wait("document.querySelectorAll('article.run').length === 2")
        require_accessible(browser)
        assert browser.requests() == {"file"}


def require_accessible(browser):
    if not AXE.is_file():
        pytest.skip("needs axe-core: make lint installs it")
    browser.run("typeof axe" if browser.run("typeof axe") == "object" else AXE.read_text() + ";0")
    browser.run(
        "window.problems = null; axe.run().then((found) => { window.problems = JSON.stringify("
        "found.violations.map((v) => [v.id, v.nodes[0].html, v.nodes[0].failureSummary])) }); 0"
    )
    assert json.loads(browser.wait("window.problems")) == []


def test_explanations_open_by_touch_and_keyboard(vit):
    path = page_of(vit, "patches")
    with Browser(390, 844) as browser:
        browser.open(f"{path.as_uri()}#min=0")
        latent = listed(browser)[0]
        browser.run(f"openLatent({latent})")
        ready(browser, latent)
        browser.run("document.querySelector('.tiles .term').focus()")
        browser.press("Enter")
        browser.wait("document.querySelector('#tip:popover-open') !== null")
        assert text_of(browser, "#tip") == "images on which it fires"
        browser.press("Escape")
        browser.wait("document.querySelector('#tip:popover-open') === null")
        # Esc has closed the explanation alone.
        assert browser.run("state.latent") == latent
        titled = browser.run(
            "document.querySelectorAll('#latent [title]:not(button, .ends)').length"
        )
        assert titled == 0  # nothing explains itself to a mouse alone


def test_a_printed_latent_is_all_of_it(vit):
    path = page_of(vit, "patches")
    with Browser(1000, 700) as browser:
        browser.open(f"{path.as_uri()}#min=0")
        latent = listed(browser)[0]
        browser.run(f"openLatent({latent})")
        ready(browser, latent)
        browser.send("Emulation.setEmulatedMedia", media="print")
        shown_there = "[...document.querySelectorAll('#latent figure, #latent .near a')]"
        assert browser.run(f"{shown_there}.every((one) => one.checkVisibility())")
        assert not browser.run("document.getElementById('list').checkVisibility()")
        # The document is as tall as what it holds: nothing scrolls inside it, to be cut off.
        assert browser.run(
            "[...document.querySelectorAll('#latent, #latent *')].every((e) => "
            "!['auto', 'scroll'].includes(getComputedStyle(e).overflowY) || "
            "e.scrollHeight <= e.clientHeight + 1)"
        )


def test_a_contour_surrounds_what_reaches_half_of_the_largest(vit):
    path = page_of(vit, "patches")
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#min=0")
        drawn = browser.run(
            "contour([2, 3], Uint8Array.from([0, 128, 255, 127, 0, 0]), 0)"
            ".querySelector('path').getAttribute('d')"
        )
        # Two patches in the upper line: no line between them, six around them.
        edges = sorted(drawn.removeprefix("M").split("M"))
        assert edges == sorted(["1 0h1", "1 1h1", "1 0v1", "2 0h1", "2 1h1", "3 0v1"])
        weak = "contour([1, 2], Uint8Array.from([60, 20]), 0)"
        assert browser.run(f"{weak}.getAttribute('class')") == "contour weak"
        path_of = f"{weak}.querySelector('path').getAttribute('d')"
        assert sorted(browser.run(path_of).removeprefix("M").split("M")) == sorted(
            ["0 0h1", "0 1h1", "0 0v1", "1 0v1"]
        )
        # Where the latent is silent, the heat map leaves the image as it is.
        alpha = (
            "heatMap([1, 2], Uint8Array.from([0, 255]), 0, { ...state, heat: 'colour' })"
            ".getContext('2d').getImageData(0, 0, 2, 1).data"
        )
        assert browser.run(f"{alpha}[3]") == 0
        assert browser.run(f"{alpha}[7]") > 150
