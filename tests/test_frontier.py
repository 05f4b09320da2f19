"""The frontier of a sweep, against values worked out by hand."""

import pytest
from browser import CHROMIUM, Browser

from saev.dashboard.frontier import RULE, Point, frontiers, pareto, recommended
from saev.dashboard.page import page


def point(name, l0, nmse, dead=0.0):
    return Point(name, l0, nmse, dead)


def test_a_point_is_pareto_optimal_if_no_other_is_as_good_in_both_and_better_in_one():
    points = [
        point("beaten", 20, 0.4), point("many", 64, 0.1), point("few", 8, 0.5),
        point("middle", 16, 0.3), point("same-l0", 16, 0.35), point("twin", 8, 0.5),
    ]  # fmt: skip
    assert [p.name for p in pareto(points)] == ["few", "twin", "middle", "many"]


def test_the_knee_is_the_point_farthest_below_the_line_in_logarithms():
    # In logs to base 2 the line falls by 1.7 a step: b lies 1.8 - 1.7 = 0.1 below it, c 7.8 - 6.8 =
    # 1. On linear scales it would be b: 0.68 below the line, and c 0.51.
    points = [point("a", 1, 1), point("b", 2, 2**-1.8), point("c", 16, 2**-7.8)]
    points.append(point("d", 32, 2**-8.5))
    assert recommended(points).name == "c"


def test_of_equally_far_points_the_sparser_is_recommended():
    # In logs to base 2: (0, 0), (1, -2), (3, -4), (5, -5). Both in the middle lie 1 below y = -x.
    points = [point("c", 8, 1 / 16), point("a", 1, 1), point("d", 32, 1 / 32), point("b", 2, 1 / 4)]
    assert recommended(points).name == "b"


def test_with_fewer_than_three_the_lowest_error_is_recommended():
    assert recommended([point("a", 1, 0.5), point("b", 9, 0.4)]).name == "b"
    assert recommended([point("a", 1, 0.5), point("b", 9, 0.6), point("c", 8, 0.7)]).name == "a"


def test_without_a_knee_the_lowest_error_is_recommended():
    # All on one line, and then above it.
    assert recommended([point("a", 1, 1), point("b", 2, 1 / 2), point("c", 4, 1 / 4)]).name == "c"
    assert recommended([point("a", 1, 1), point("b", 2, 0.9), point("c", 4, 1 / 4)]).name == "c"


def test_a_point_with_more_than_a_tenth_of_its_latents_dead_is_not_recommended():
    knee = [point("a", 1, 1), point("b", 2, 0.1, 0.11), point("c", 4, 0.07), point("d", 16, 0.05)]
    assert recommended(knee).name == "c"
    assert recommended([knee[0], knee[1]._replace(dead=0.1), *knee[2:]]).name == "b"
    assert recommended([point("a", 1, 1, 0.5)]) is None


def run(sae, l0, nmse, analysis="x-1", **final):
    return {
        "run": {"sae": sae, "images": "i", "vit": "v", "analysis": analysis, "trained_on": "i"},
        "link": f"i/v/{sae}/page",
        "summary": {"n_latents": 10, "all": {"n_dead": 1}},
        "final": {"l0": 1.0, "nmse": 0.9, "eval_l0": l0, "eval_nmse": nmse} | final,
    }


def test_only_points_of_one_sweep_on_the_same_analysis_are_compared():
    runs = [run("s.k-1-ab", 1, 0.5), run("s.k-2-cd", 2, 0.6), run("other-ef", 3, 0.1)]
    runs.append(run("s.k-1-ab", 1, 0.5, analysis="y-2"))
    first, second = frontiers(runs, {"s": ["s.k-1-ab", "s.k-2-cd"]})
    shown = [(p["label"], p["l0"], p["nmse"], p["dead"], p["pareto"]) for p in first["points"]]
    assert shown == [("k-1", 1, 0.5, 0.1, True), ("k-2", 2, 0.6, 0.1, False)]
    assert (first["recommended"], first["held_out"], first["rule"]) == ("s.k-1-ab", True, RULE)
    assert [p["name"] for p in second["points"]] == ["s.k-1-ab"]
    assert frontiers(runs, {}) == []


def test_seeds_alone_make_no_frontier_as_none_is_better():
    runs = [run("s.init_seed-0-0123abcd", 1, 0.5), run("s.init_seed-1-89abcdef", 1, 0.4)]
    assert frontiers(runs, {"s": [one["run"]["sae"] for one in runs]}) == []
    runs.append(run("s.k-2.init_seed-1-89abcdef", 2, 0.4))
    assert len(frontiers(runs, {"s": [one["run"]["sae"] for one in runs]})) == 1


def test_without_held_out_images_the_error_is_that_of_training():
    runs = [run("a-1", None, None), run("b-2", 2, 0.1)]
    (found,) = frontiers(runs, {"s": ["a-1", "b-2"]})
    assert not found["held_out"]
    assert [p["nmse"] for p in found["points"]] == [0.9, 0.9]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_the_plot_can_be_read_on_a_phone_and_labels_stay_inside(tmp_path):
    runs = [run(f"s.k-{k}-ab", k, 4 / (k + 4)) for k in (4, 16, 1000)]
    sweeps = frontiers(runs, {"s": [one["run"]["sae"] for one in runs]})
    path = tmp_path / "index.html"
    path.write_bytes(page("gallery", {"runs": [], "frontiers": sweeps}))
    with Browser(390, 844) as browser:
        browser.send("Page.navigate", url=path.as_uri())
        browser.wait("document.querySelectorAll('.frontier svg circle').length >= 3")
        texts = (
            "[...document.querySelectorAll('.frontier svg text')]"
            ".map((t) => t.getBoundingClientRect())"
        )
        heights = browser.run(f"{texts}.map((t) => t.height)")
        assert min(heights) > 10
        right = browser.run("document.querySelector('.frontier svg').getBoundingClientRect().right")
        assert max(browser.run(f"{texts}.map((t) => t.right)")) <= right
