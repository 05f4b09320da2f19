"""The wall and the map of a run, in a browser."""

import json

import pyarrow.parquet as pq
import pytest
from browser import CHROMIUM, Browser
from safetensors.numpy import load_file
from test_dashboard import enter, page_of
from test_reader import SIZES, listed, ready, require_accessible, table_of, text_of

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
  for (const key of ["rows", "patches"]) {
    saevData.strongest[key] = shown.map((i) => saevData.strongest[key][i % few]);
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


def mouse(browser, kind, x, y, **more):
    """Send an event of the mouse, at a place of the map."""
    left, top = value(browser, "[at('map').getBoundingClientRect()].flatMap((r) => [r.x, r.y])")
    place = {"x": left + x, "y": top + y}
    browser.send("Input.dispatchMouseEvent", type=f"mouse{kind}", **place, **more)


def drag(browser, start, end):
    mouse(browser, "Moved", *start)
    mouse(browser, "Pressed", *start, button="left", clickCount=1)
    mouse(browser, "Moved", *end, button="left", buttons=1)
    mouse(browser, "Released", *end, button="left", clickCount=1)


def click(browser, x, y):
    mouse(browser, "Pressed", x, y, button="left", clickCount=1)
    mouse(browser, "Released", x, y, button="left", clickCount=1)


def point(browser, latent):
    """Where a latent is on the map."""
    i = f"plotted.latents.indexOf({latent})"
    return tuple(value(browser, f"[plotted.xs[{i}], plotted.ys[{i}]]"))


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
            "window.read = 0; (async () => { for (let i = 0; i < 60; i++) { "
            "if ((await dataOf(256 * i)).rows.length) window.read++ } })(); 0"
        )
        browser.wait("window.read === 60")
        assert browser.run(f"{blocks}.length") == 40
        assert browser.run("document.querySelectorAll('head script').length") == 0
        # One that was used stays, and one that was dropped comes back.
        browser.run(
            "window.read = 0; dataOf(256 * 20).then(() => dataOf(256 * 3))"
            ".then((data) => { window.read = data.rows.length }); 0"
        )
        assert browser.wait("window.read") > 9
        kept = value(browser, blocks)
        assert {"block 20", "block 3"} < set(kept)
        assert "block 21" not in kept
        assert len(kept) == 40


def test_the_points_of_the_map_are_the_latents_of_the_table(vit):
    path = page_of(vit, "patches")
    figures = table_of(path)
    with Browser() as browser:
        open_map(browser, f"{path.as_uri()}#view=map&min=0")
        places = value(
            browser,
            "plotted.latents.map((latent, i) => [latent, plotted.x.value(plotted.xs[i]), "
            "plotted.y.value(plotted.ys[i]), kindsOf([latent])[0]])",
        )
        on_map = [j for j, lift in enumerate(figures["label_lift.animal"]) if lift is not None]
        assert sorted(latent for latent, *_ in places) == on_map
        rates = [rate for rate in figures["fire_rate"] if rate]
        assert browser.run("plotted.x.log") == (max(rates) >= 10 * min(rates))
        kinds = set()
        for latent, across, up, kind in places:
            assert across == pytest.approx(figures["fire_rate"][latent], rel=1e-3)
            assert up == pytest.approx(figures["label_lift.animal"][latent], rel=1e-3)
            expected = "positional" if figures["positional"][latent] else "plain"
            assert kind == ("dense" if figures["dense"][latent] else expected)
            kinds.add(kind)
        assert len(kinds) > 1
        missed = len(figures["latent"]) - len(on_map)
        said = text_of(browser, "#map-missed")
        assert said.startswith(f"{missed} latents have no place") if missed else said == ""
        # Each point is painted where it should be, in a shape and a colour of its own.
        painted = (
            "[...at('map').getContext('2d').getImageData(Math.round(plotted.xs[i]), "
            "Math.round(plotted.ys[i]), 1, 1).data]"
        )
        pixels = value(browser, f"plotted.latents.map((_, i) => {painted})")
        assert all(alpha > 150 for *_, alpha in pixels)
        colours = {kind: browser.run(f"colourOf('--{kind}')").strip() for kind in kinds}
        assert len(set(colours.values())) == len(kinds)
        uppermost = "dense" if "dense" in kinds else "positional"
        wanted = [*bytes.fromhex(colours[uppermost].removeprefix("#")), 255]
        shapes = [pixels[i] for i, (*_, kind) in enumerate(places) if kind == uppermost]
        assert shapes.count(wanted) > len(shapes) / 2  # others lie below the rim of a neighbour
        star = places[0][0]
        browser.run(f"annotate({star}, {{ star: true }})")
        assert browser.run(f"kindsOf([{star}])[0]") == "starred"
        assert "your stars and notes1" in text_of(browser, "#map-legend")
        # Other figures, by the menus. What a filter hides stays as a faint dot.
        browser.run(
            "(f => { f.value = 'image_count'; f.dispatchEvent(new Event('change')); })"
            "(document.getElementById('c-y'))"
        )
        browser.run("restart({ bounds: { ...state.bounds, min: 60 } })")
        kept = [j for j in range(len(figures["latent"])) if figures["image_count"][j] >= 60]
        assert sorted(value(browser, "plotted.latents")) == kept
        first = value(browser, "[plotted.latents[0], plotted.y.value(plotted.ys[0])]")
        assert first[1] == pytest.approx(figures["image_count"][first[0]], rel=1e-3)
        hidden = f"hidden by the filters{len(figures['latent']) - len(kept)}"
        assert hidden in text_of(browser, "#map-legend")


def test_pointing_at_a_latent_shows_its_images_and_a_click_opens_it(vit):
    path = page_of(vit, "patches")
    with Browser() as browser:
        open_map(browser, f"{path.as_uri()}#view=map&min=0")
        latent = browser.run(
            "plotted.latents.find((l, i) => nearest(plotted.xs[i], plotted.ys[i], 1) === l)"
        )
        x, y = point(browser, latent)
        mouse(browser, "Moved", x + 2, y - 2)
        assert browser.run("picked") == latent
        assert f"{latent}" in text_of(browser, "#picked b")
        assert text_of(browser, "#map-said").startswith(text_of(browser, "#picked b"))
        browser.wait(f"document.querySelector('#map-card #card-{latent} img') !== null")
        assert browser.run("document.querySelectorAll('#map-card img').length") > 3
        click(browser, x + 1, y)
        ready(browser, latent)
        assert f"latent={latent}" in browser.run("address({})")
        browser.run("history.back()")
        browser.wait(BACK)
        assert browser.run("document.activeElement.id") == "map"
        assert browser.run("state.view + picked") == f"map{latent}"


def test_the_map_is_walked_by_keys_and_touched_by_fingers(vit):
    path = page_of(vit, "patches")
    with Browser(390, 844) as browser:
        open_map(browser, f"{path.as_uri()}#view=map&min=0")
        browser.press("/")
        browser.run("document.getElementById('map').focus()")
        first = browser.run("picked")
        assert first == browser.run("plotted.latents[0]")
        # Every point can be reached, from any other, by going over all that were reached.
        reached = browser.run(
            "(() => { const seen = new Set([picked]); const rest = [picked];"
            "while (rest.length) { picked = rest.pop();"
            "for (const way of [[1, 0], [-1, 0], [0, 1], [0, -1]]) { const next = toward(...way);"
            "if (next !== null && !seen.has(next))"
            "{ seen.add(next); rest.push(next); } } } return seen.size })()"
        )
        assert reached == browser.run("plotted.latents.length")
        browser.run(f"pick({first})")
        keys = {"ArrowRight": 1, "ArrowUp": -1}
        for key, sign in keys.items():
            axis = 0 if key == "ArrowRight" else 1
            before = point(browser, browser.run("picked"))
            browser.press(key)
            after = point(browser, browser.run("picked"))
            assert sign * (after[axis] - before[axis]) >= 0
        latent = browser.run("picked")
        browser.press("Enter")
        ready(browser, latent)
        browser.press("Escape")
        browser.wait(BACK)
        # A finger shows the latent. Its card opens it.
        browser.send("Emulation.setTouchEmulationEnabled", enabled=True)
        browser.run("window.scrollTo(0, 0)")
        left, top = value(browser, "[at('map').getBoundingClientRect()].flatMap((r) => [r.x, r.y])")
        x, y = point(browser, first)
        expected = browser.run(f"nearest({x + 4}, {y}, 28)")
        place = {"x": left + x + 4, "y": top + y}
        browser.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[place])
        browser.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        browser.wait(f"document.querySelector('#map-card #card-{expected}') !== null")
        assert browser.run("state.latent") is None


def test_a_brush_selects_exactly_the_latents_in_it_for_all_views_until_it_is_dropped(vit):
    path = page_of(vit, "patches")
    figures = table_of(path)
    with Browser() as browser:
        open_map(browser, f"{path.as_uri()}#view=map&min=0")
        whole = listed(browser)
        places = {j: point(browser, j) for j in value(browser, "plotted.latents")}
        across = sorted(x for x, _ in places.values())
        up = sorted(y for _, y in places.values())
        low, high = len(across) // 4, 3 * len(across) // 4
        start = ((across[low - 1] + across[low]) / 2, (up[low - 1] + up[low]) / 2)
        end = ((across[high - 1] + across[high]) / 2, (up[high - 1] + up[high]) / 2)
        drag(browser, end, start)
        inside = {
            j for j, (x, y) in places.items() if start[0] <= x <= end[0] and start[1] <= y <= end[1]
        }
        (_, x1, x2), (_, y1, y2) = json.loads(browser.run("state.brush"))
        by_value = {
            j
            for j in places
            if x1 <= figures["fire_rate"][j] <= x2 and y1 <= figures["label_lift.animal"][j] <= y2
        }
        assert 2 < len(inside) < len(places)
        assert set(listed(browser)) == inside == by_value
        assert listed(browser) == [j for j in whole if j in inside]
        assert not browser.run("document.getElementById('brush').hidden")
        assert "frequency" in text_of(browser, "#brushed")
        assert browser.run("state.latent") is None
        browser.run("document.querySelector('#views [value=wall]').click()")
        assert set(on_wall(browser)) == inside
        browser.wait("location.hash.includes('brush=')")
        browser.send("Page.reload")
        browser.wait("document.readyState === 'complete' && typeof onWall === 'object'")
        assert set(on_wall(browser)) == inside
        browser.run("document.querySelector('#wall a').click()")
        browser.wait(OPENED)
        browser.run("history.back()")
        browser.wait(BACK)
        assert set(on_wall(browser)) == inside
        browser.run("document.querySelector('#views [value=list]').click()")
        assert browser.run("document.querySelectorAll('.card').length") == min(24, len(inside))
        browser.run("document.getElementById('brushed').click()")
        assert listed(browser) == whole
        assert browser.run("document.getElementById('brushed').hidden")
        # A brush over nothing selects nothing; a new one replaces the former.
        browser.run("document.querySelector('#views [value=map]').click()")
        drag(browser, (73, 35), (79, 40))
        assert listed(browser) == whole
        browser.run("selectWithin(...[1, 1, 9999, 9999])")
        assert set(listed(browser)) == set(places)
        drag(browser, start, end)
        assert set(listed(browser)) == inside


def test_a_lasso_selects_exactly_the_latents_inside_it_in_a_window_of_any_size(vit):
    path = page_of(vit, "patches")
    with Browser() as browser:
        open_map(browser, f"{path.as_uri()}#view=map&min=0")
        browser.run("[...at('tools').querySelectorAll('button')].at(-1).click()")
        assert browser.run("document.querySelector('#tools :focus, #map.lasso') !== null")
        assert browser.run("plotted.x.log")
        whole = listed(browser)
        places = {j: point(browser, j) for j in value(browser, "plotted.latents")}
        x, y = (sorted(place[axis] for place in places.values()) for axis in (0, 1))
        left, right, middle = x[0] - 8, x[-1] + 8, x[len(x) // 2] + 0.4
        top, bottom, half = y[0] - 8, y[-1] + 8, y[len(y) // 2] + 0.4
        # An L turned over: all but the upper left quarter.
        corners = [(middle, half), (middle, top), (right, top), (right, bottom)]
        corners += [(left, bottom), (left, half)]
        mouse(browser, "Moved", *corners[0])
        mouse(browser, "Pressed", *corners[0], button="left", clickCount=1)
        for corner in corners[1:]:
            mouse(browser, "Moved", *corner, button="left", buttons=1)
        assert browser.run("at('lasso').getAttribute('points').split(' ').length") == 6
        mouse(browser, "Released", *corners[-1], button="left", clickCount=1)
        inside = {j for j, (x, y) in places.items() if x > middle or y > half}
        assert 2 < len(inside) < len(places)
        assert set(listed(browser)) == inside
        assert listed(browser) == [j for j in whole if j in inside]
        kept = json.loads(browser.run("state.brush"))
        assert [kept["x"], kept["y"]] == ["fire_rate", "label_lift.animal"]
        assert "lasso on frequency, lift" in text_of(browser, "#brushed")
        drawn = "at('lasso').getAttribute('points').split(' ').map((p) => p.split(',').map(Number))"
        assert value(browser, drawn) == [pytest.approx(corner, abs=0.1) for corner in corners]
        browser.wait("location.hash.includes('corners')")
        address = browser.run("location.href")
        assert text_of(browser, "#to-wall") == f"See {len(inside)} on the wall"
        browser.run("at('to-wall').click()")
        assert set(on_wall(browser)) == inside
        # A rectangle replaces it, and it is dropped as one.
        browser.run("document.querySelector('#views [value=map]').click()")
        browser.run("[...at('tools').querySelectorAll('button')].at(-2).click()")
        drag(browser, (left, top), (right, bottom))
        assert set(listed(browser)) == set(places)
        assert browser.run("at('lasso').getAttribute('points')") == ""
        browser.run("at('brushed').click()")
        assert listed(browser) == whole
        # Other axes don't show it. What is no lasso selects all.
        browser.open(address.replace("fire_rate", "no_such_figure"))
        assert browser.run("state.brush") == ""
    with Browser(390, 844) as browser:
        open_map(browser, address)
        assert set(listed(browser)) == inside
        seen = browser.run("at('lasso').getBoundingClientRect().width")
        assert 100 < seen <= 390


def test_a_long_line_becomes_a_lasso_of_few_corners_that_lies_where_it_was_drawn(vit):
    path = page_of(vit, "patches")
    with Browser() as browser:
        open_map(browser, f"{path.as_uri()}#view=map&min=0&lasso=true")
        circle = (
            "Array.from({ length: 2000 }, (_, i) => [400 + 250 * Math.cos(i / 318.4) + (i % 2), "
            "350 + 250 * Math.sin(i / 318.4)])"
        )
        corners = value(browser, f"shortLine({circle})")
        assert 12 < len(corners) <= 60
        assert all(240 < ((x - 400) ** 2 + (y - 350) ** 2) ** 0.5 < 260 for x, y in corners)
        browser.run(f"selectInside({circle})")
        places = "plotted.place(l).map((p, i) => p - [400, 350][i])"
        within = f"plotted.latents.every((l) => Math.hypot(...{places}) < 253)"
        assert listed(browser)
        assert browser.run(within)
        assert len(browser.run("address({})")) < 2200


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
