"""What parity measures, on values worked out by hand."""

import numpy as np
import pyarrow as pa
import pytest

from saev.parity.measures import distances
from saev.parity.measures.of_analyze import rank_correlation, top_lists
from saev.parity.measures.of_train import matched_cosine, within_noise
from saev.parity.verdict import Level, Verdict, worst
from saev.settings.parity import ParitySettings


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
