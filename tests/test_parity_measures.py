"""What parity measures, on values worked out by hand."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from analysed import write_images
from synthetic import write_activations
from test_older_formats import OLDER

from saev.core.errors import UserError
from saev.parity.lab import Made
from saev.parity.long_training import unseen
from saev.parity.measures import distances, of_dashboard
from saev.parity.measures.of_activations import compare_activations
from saev.parity.measures.of_analyze import rank_correlation, top_lists
from saev.parity.measures.of_train import compare_curves, matched_cosine, within_noise
from saev.parity.subject import require_images
from saev.parity.verdict import Level, Verdict, worst
from saev.settings.analysis import AnalysisSettings
from saev.settings.parity import ParitySettings
from saev.settings.sae import TopKSettings


def test_a_relative_distance_is_that_of_the_norms():
    assert distances.relative(np.array([3.0, 4.0]), np.array([3.0, 4.0])) == 0
    assert distances.relative(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(
        0.5 / np.hypot(3, 4.5)
    )
    assert distances.relative(np.array([np.nan, 1.0]), np.array([np.nan, 1.0])) == 0
    assert distances.relative(np.array([np.nan, 1.0]), np.array([1.0, 1.0])) == float("inf")
    assert distances.relative(np.array([np.inf]), np.array([-np.inf])) == float("inf")


def test_floats_may_be_rounded_and_whole_numbers_may_not():
    a = {"x": np.array([1.0, 2.0]), "n": np.array([1_000_000])}
    near = {"x": a["x"] * (1 + 1e-6), "n": a["n"]}
    assert distances.arrays(a, dict(a), tolerance=1e-4).level == Level.BIT_EQUAL
    assert distances.arrays(a, near, tolerance=1e-4).level == Level.ROUNDING
    assert distances.arrays(a, near, tolerance=1e-8).level == Level.DIFFERENT
    off = {**a, "n": a["n"] + 1}
    assert distances.arrays(a, off, tolerance=1e-4).level == Level.DIFFERENT
    assert distances.arrays(a, {"x": a["x"]}, tolerance=1e-4).texts == ("n is only in OLD",)


def test_a_small_number_that_changed_beside_large_ones_is_no_rounding():
    a = np.array([1e6, 1.0, 1e-9])
    assert distances.near(a, a * (1 + 1e-6), 1e-4)
    assert not distances.near(a, a + np.array([0, 0.5, 0]), 1e-6)
    assert distances.near(
        a, a + np.array([0, 0, 1e-9]), 1e-6
    )  # what is left where large ones cancel
    assert not distances.near(np.array([np.nan]), np.array([1.0]), 1e-4)
    sums = {"x": np.array([1e9, 3.0])}
    assert distances.arrays(sums, {"x": np.array([1e9, 2.0])}, tolerance=1e-8).level == 4
    whole = distances.arrays(sums, {"x": np.array([1e9, 2.0])}, tolerance=1e-4, as_wholes=True)
    assert whole.level == Level.ROUNDING


def test_rows_in_another_order_are_recognised():
    def called(row):
        return str(row)

    assert distances.moved([1, 2, 3], [1, 2, 3], called) is None
    assert distances.moved([1, 2, 3], [1, 2, 4], called) is None
    text = distances.moved([1, 2, 3, 4], [1, 2, 4, 3], called)
    assert text == "same rows in another order: 2 of 4 rows moved, from row 2 on"


def test_a_table_names_the_rows_that_differ():
    a = pa.table({"row": [0, 1, 2], "label": ["cat", "dog", None], "x": [1.0, None, 3.0]})
    assert distances.tables(a, a, tolerance=0, key="row").level == Level.BIT_EQUAL
    b = a.set_column(1, "label", pa.array(["cat", "bat", None]))
    found = distances.tables(a, b, tolerance=0, key="row")
    assert found.level == Level.DIFFERENT
    assert found.texts == ("label: 1 of 3 rows differ (1: dog → bat)",)
    c = a.set_column(2, "x", pa.array([1.0, None, 3.0 + 1e-9]))
    assert distances.tables(a, c, tolerance=1e-6, key="row").level == Level.ROUNDING
    d = a.set_column(2, "x", pa.array([1.0, 0.0, 3.0]))
    assert distances.tables(a, d, tolerance=1e-6, key="row").level == Level.DIFFERENT
    assert "2 rows, before 3" in distances.tables(a, a.slice(1), tolerance=0, key="row").texts[0]
    assert distances.tables(a, a.drop(["x"]), tolerance=0, key="row").texts == (
        "columns x are gone",
    )


def test_texts_may_differ_by_rounded_numbers_only():
    assert distances.texts("x = 1.0", "x = 1.0000001", tolerance=1e-4).level == Level.ROUNDING
    assert distances.texts("x = 1.0", "x = 2.0", tolerance=1e-4).level == Level.DIFFERENT
    assert distances.texts("x = 1.0", "y = 1.0", tolerance=1e-4).level == Level.DIFFERENT
    # Beside a large number too, and of whole numbers no digit.
    assert distances.texts("9e6, 0.3", "9e6, 0.4", tolerance=1e-4).level == Level.DIFFERENT
    assert distances.texts("[90000, 7]", "[90001, 7]", tolerance=1e-4).level == Level.DIFFERENT
    # The page has four digits, and the last one may turn.
    assert distances.texts("0.01234", "0.01235", tolerance=1e-4).level == Level.ROUNDING
    assert distances.texts("0.4999", "0.5", tolerance=1e-4).level == Level.ROUNDING
    assert distances.texts("0.2", "0.3", tolerance=1e-4).level == Level.DIFFERENT


def test_scripts_of_a_page_are_the_same_if_only_comments_changed():
    old = "<script>\n// one\nlet a = `\n  // text`;\n/* two\n   lines */\nb();\n</script>"
    assert of_dashboard._acting(old) == of_dashboard._acting(
        "<script>\n  let a = `\n  // text`;\n// other\n\nb();\n</script>"
    )
    for changed in (old.replace("// text", "// other"), old.replace("b()", "c()")):
        assert of_dashboard._acting(changed) != of_dashboard._acting(old)
    assert of_dashboard._parted("a<script>start({1})") == ("a", "{1})")


def curve(**changed):
    line = {"step": 10, "loss": 0.5, "dead": 3, "lr": 0.01, "eval_nmse": None}
    return [{**line, "step": 5}, {**line, **changed}]


@pytest.mark.parametrize(
    ("changed", "same_weights", "level"),
    [
        ({}, True, Level.BIT_EQUAL),
        ({"loss": 0.500001}, True, Level.ROUNDING),
        ({"loss": 0.501}, True, Level.DIFFERENT),
        ({"loss": 0.501}, False, Level.ROUNDING),
        ({"loss": 0.51}, False, Level.DIFFERENT),
        ({"dead": 4}, True, Level.DIFFERENT),
        ({"dead": 4}, False, Level.ROUNDING),
        ({"lr": 0.00999}, False, Level.DIFFERENT),
        ({"eval_nmse": 0.1}, False, Level.DIFFERENT),
        ({"new": 1}, False, Level.DIFFERENT),
    ],
)
def test_each_figure_of_a_curve_counts(changed, same_weights, level):
    found = compare_curves(curve(), curve(**changed), ParitySettings(), same_weights)
    assert found.level == level, found


def test_what_happened_only_between_the_steps_that_are_made_again_is_known():
    lines = [{"step": s, "dead": 2 * (s == 50), "resampled": int(s >= 70)} for s in range(10, 101)]
    assert unseen(lines, 20, 90) == "latents were restarted"
    assert unseen(lines, 20, 60) == "latents were dead"
    assert unseen(lines, 20, 40) is None
    assert unseen(lines, 80, 90) is None


def test_activations_in_half_the_digits_are_no_rounding(tmp_path):
    values = np.random.default_rng(0).standard_normal((40, 3, 8)).astype(np.float32)
    coarse = torch.from_numpy(values).bfloat16().float().numpy()
    stored = values.astype(np.float16)
    way = np.random.default_rng(1).choice([-9, 9], stored.shape).astype(np.float16)
    turned = np.nextafter(stored, way)
    made = []
    for name, held in (("a", values), ("b", coarse), ("c", turned)):
        images, vit = f"images-{name * 8}", "vit-00000000"
        write_images(tmp_path / images, [f"{i}.png" for i in range(40)])
        write_activations(tmp_path / images / vit, {"layer-01.patches": held}, dtype="float16")
        made.append(Made.at("activations", tmp_path, {"images": images, "vit": vit}))
    a, b, c = made
    assert compare_activations(a, b, ParitySettings()).level == Level.DIFFERENT
    assert compare_activations(a, c, ParitySettings()).level == Level.ROUNDING


def test_lists_of_top_images_overlap_as_sets():
    a = np.array([[1, 2, 3], [4, 5, -1], [-1, -1, -1]])
    b = np.array([[1, 2, 9], [5, 4, -1], [-1, -1, -1]])
    changed, overlap = top_lists(a, b)
    assert changed.tolist() == [True, True, False]
    assert overlap == pytest.approx((2 / 4 + 1 + 1) / 3)


def test_the_correlation_of_ranks_shares_ties():
    assert rank_correlation(np.array([1, 5, 9]), np.array([2, 3, 100])) == pytest.approx(1)
    assert rank_correlation(np.array([1, 5, 9]), np.array([9, 5, 1])) == pytest.approx(-1)
    # Ranks 0.5 0.5 2 and 0 1 2.
    found = rank_correlation(np.array([1, 1, 9]), np.array([1, 2, 3]))
    assert found == pytest.approx(1.5 / np.sqrt(1.5 * 2))


def test_directions_are_matched_whatever_their_order():
    a = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert matched_cosine(a, a[::-1] * 3) == pytest.approx(1)
    half = np.array([[1.0, 1.0], [1.0, 1.0]])
    assert matched_cosine(a, half) == pytest.approx(np.sqrt(0.5))


def test_a_training_is_noise_only_if_it_is_no_farther_than_another_seed():
    def change(nmse, cosine):
        figures = {"old.nmse": 0.50, "new.nmse": 0.50 + nmse, "matched_cosine": cosine}
        return Verdict(Level.DIFFERENT, ("x",), figures)

    seeds, settings = change(0.01, 0.6), ParitySettings()
    assert within_noise(change(0.015, 0.7), seeds, settings).level == Level.NOISE
    assert within_noise(change(0.03, 0.7), seeds, settings).level == Level.DIFFERENT
    assert within_noise(change(0.001, 0.4), seeds, settings).level == Level.DIFFERENT


def test_frozen_results_need_the_images_that_they_were_made_from(tmp_path):
    shutil.copytree(OLDER / "analysis-2", tmp_path / "results")
    (images,) = (tmp_path / "results").glob("pets-*")
    for entry in pq.read_table(images / "manifest.parquet").to_pylist():
        path = tmp_path / "pictures" / entry["key"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(entry["bytes"]))
    require_images(tmp_path / "results", {"images": images.name})
    path.write_bytes(b"another")
    with pytest.raises(UserError, match="hasn't got the images that") as e:
        require_images(tmp_path / "results", {"images": images.name})
    assert entry["key"] in str(e.value)


def test_the_worst_part_decides_about_the_whole():
    found = worst(
        [
            Verdict(Level.ROUNDING, ("a",)),
            Verdict(Level.DIFFERENT, ("b",)),
            Verdict(Level.BIT_EQUAL),
        ]
    )
    assert found.level == Level.DIFFERENT
    assert found.texts == ("b", "a")
    assert not found.same
    assert worst([]).level == Level.BIT_EQUAL


def test_older_code_gets_no_setting_that_it_may_not_know_unless_it_says_something():
    assert AnalysisSettings(labels={}).loose() == {}
    assert AnalysisSettings(labels={}, codes_gib=1.5).loose() == {"codes_gib": 1.5}
    given = {"architecture": "topk", "layer": 1, "tokens": "cls", "n_latents": 8, "k": 2}
    given |= {"batch_size": 8, "epochs": 1.0, "lr": 0.1, "held_out": 0.1}
    assert TopKSettings(**given).loose() == {}
    assert TopKSettings(**given, log_every=7).loose() == {"log_every": 7}
    assert TopKSettings(**given, log_every=7, patience=2).loose() == {}
