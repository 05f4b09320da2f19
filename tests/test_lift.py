"""Lift, names and the default order, with values worked out by hand."""

import numpy as np
import pytest

from saev.analyze.cells import cells
from saev.analyze.figures import TopLabels
from saev.analyze.lift import Lift, Standing, default_order, is_name, lift_top, wilson_low
from saev.analyze.positions import border_share, position_columns, position_entropy


def test_the_lower_end_of_an_interval_is_that_of_wilsons_formula():
    # 16 of 16: 1 / (1 + 1.96² / 16). 0 of 8: 0. 8 of 16: the textbook's 0.28.
    found = wilson_low(np.array([16, 0, 8]), np.array([16, 8, 16]))
    np.testing.assert_allclose(found, [0.806392, 0, 0.279987], atol=1e-5)


def test_lift_is_the_share_of_a_label_among_top_images_over_its_share_of_all():
    codes = np.array([[0] * 8, [1] * 6 + [0] * 2, [0, -1, -1, -1, -1, -1, -1, -1], [-1] * 8])
    present = np.ones((4, 8), bool)
    present[2, 4:] = False  # four top images are too few
    found = lift_top(codes, present, np.array([10, 190]))
    assert found.label.code.tolist() == [0, 1, 0, -1]
    assert found.label.n.tolist() == [8, 6, 1, 0]
    np.testing.assert_allclose(found.base, [0.05, 0.95, 0.05, np.nan])
    np.testing.assert_allclose(found.lift, [20, 0.75 / 0.95, np.nan, np.nan])
    np.testing.assert_allclose(found.low[0], wilson_low(np.array([8]), np.array([8]))[0] / 0.05)


def test_images_without_a_label_lower_the_lift():
    codes = np.array([[0, 0, 0, -1, -1, -1]])
    found = lift_top(codes, np.ones((1, 6), bool), np.array([1, 3]))
    assert found.lift.tolist() == [2]


def test_a_label_that_most_images_have_names_nothing():
    codes = np.zeros((3, 16), np.int64)
    common = lift_top(codes, np.ones((3, 16), bool), np.array([90, 10]))
    assert common.low[0] < 1 < common.lift[0]
    assert not is_name(common, np.zeros(3)).any()
    rare = lift_top(codes, np.ones((3, 16), bool), np.array([10, 90]))
    assert is_name(rare, np.array([0.0, 0.01, np.nan])).tolist() == [True, False, False]


def test_labels_take_turns_and_what_says_little_comes_last():
    #                  0  1  2  3  4: no name  5: few images  6: positional  7: dead
    low = np.array([8.0, 9, 3, 3, 7, 9, 9, np.nan])
    code = np.array([0, 0, 1, 1, 0, 0, 0, -1])
    share = np.array([0.5, 0.5, 0.2, 0.9, 0.5, np.nan, 1, np.nan])
    images = np.array([20, 20, 20, 20, 20, 3, 99, 0])
    aside = np.arange(8) == 6
    named = np.array([1, 1, 1, 1, 0, 1, 1, 0], bool)
    found = Lift(TopLabels(code, code), low, low, low)
    order = default_order(found, named, share, Standing(images, 16, aside))
    # The best of each label, then the second best. Latents 2 and 3 tie: the larger share wins.
    assert np.argsort(order).tolist() == [1, 3, 0, 2, 4, 5, 6, 7]


def test_position_entropy_of_counts_worked_out_by_hand():
    grid = cells((2, 2))
    assert (grid.shape, grid.n, grid.border.tolist()) == ((2, 2), 4, [True] * 4)
    counts = np.array([[9, 9, 9, 9], [12, 0, 0, 0], [10, 10, 0, 0], [3, 3, 0, 0]])
    np.testing.assert_allclose(position_entropy(counts, grid), [1, 0, 0.5, np.nan], atol=1e-12)


def test_few_vectors_cant_be_everywhere_so_they_say_nothing():
    grid = cells((4, 4))
    counts = np.zeros((2, 16), np.int64)
    counts[0, :15] = 1
    counts[1] = 1
    np.testing.assert_equal(position_entropy(counts, grid), [np.nan, 1])


def test_a_large_grid_is_counted_in_cells_of_several_patches():
    grid = cells((37, 37))
    assert grid.shape == (13, 13)
    sizes = np.bincount(grid.cell_of)
    assert (sizes[0], sizes[12], sizes[168]) == (9, 3, 1)
    assert grid.border.sum() == 4 * 36
    # What fires equally often on each patch is nowhere in particular, though cells differ.
    assert position_entropy(sizes[None], grid)[0] == pytest.approx(1)


def test_a_latent_is_positional_if_it_fires_in_few_places_or_always_at_the_border():
    grid = cells((14, 14))
    counts = np.zeros((3, 196), np.int64)
    counts[0, :20], counts[1], counts[2] = 50, 50, 50
    rows = np.tile(np.arange(16), (3, 1))
    patches = np.tile(np.arange(90, 106), (3, 1))  # 97, 98 and others lie at the border
    patches[2] = np.arange(16) % 14
    found = position_columns(counts, rows, patches, grid)
    assert found["positional"].tolist() == [True, False, True]
    assert found["border_share"].tolist() == [0.125, 0.125, 1]


def test_on_a_small_grid_most_patches_are_border_so_that_says_nothing():
    grid = cells((3, 3))
    found = position_columns(
        np.full((1, 9), 50), np.arange(9)[None], np.array([[0, 1, 2, 3, 5, 6, 7, 8, 0]]), grid
    )
    assert found["border_share"].tolist() == [1]
    assert found["positional"].tolist() == [False]


def test_without_top_images_nothing_is_known():
    found = border_share(np.full((1, 3), -1), np.full((1, 3), -1), cells((2, 2)))
    assert np.isnan(found).all()
