"""The map of a run, in a browser."""

import json

import pytest
from browser import CHROMIUM, Browser
from test_dashboard import page_of
from test_reader import listed, ready, table_of, text_of
from test_views import BACK, OPENED, on_wall, open_map, value

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]


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
