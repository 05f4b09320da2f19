"""The top images: any grouping gives what sorting everything gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saev.analyze.counts import Counter, merged, open_counts, with_sums
from saev.analyze.top import Kept, drawn, largest_patches, strongest, weakest

N_LATENTS = 3

# Few distinct values, so that ties are common.
entries = st.lists(
    st.tuples(
        st.integers(0, N_LATENTS - 1),
        st.sampled_from([0.5, 1.0, 2.0]),
        st.integers(0, 12),
        st.integers(0, 3),
    ),
    unique_by=lambda e: (e[0], e[2], e[3]),
    max_size=60,
)


def add(kept, chosen, flush=True):
    """Add entries as an analysis does: first one of each latent and image, then those kept."""
    columns = zip(*chosen, strict=True) if chosen else ([], [], [], [])
    dtypes = (np.int64, np.float32, np.int64, np.int32)
    latents, values, rows, patches = (
        np.array(list(c), t) for c, t in zip(columns, dtypes, strict=True)
    )
    keys, values, patches = largest_patches(rows * N_LATENTS + latents, values, patches)
    kept.add(keys % N_LATENTS, values, keys // N_LATENTS, patches)
    if flush:
        kept.flush()


def expected(all_entries, k):
    """(value, row, patch) by latent, by sorting everything."""
    result = []
    for latent in range(N_LATENTS):
        best = {}
        for j, value, row, patch in all_entries:
            if j == latent and (row not in best or (-value, patch) < best[row]):
                best[row] = (-value, patch)
        ranked = sorted((v, row, patch) for row, (v, patch) in best.items())[:k]
        kept = [(-v, row, patch) for v, row, patch in ranked]
        result.append(kept + [(-1, -1, -1)] * (k - len(kept)))
    return result


def content(top):
    return [
        list(zip(v, r, p, strict=True))
        for v, r, p in zip(
            top.values.tolist(), top.rows.tolist(), top.patches.tolist(), strict=True
        )
    ]


@given(entries, st.integers(1, 5), st.sets(st.integers(1, 12)), st.booleans(), st.booleans())
def test_any_grouping_keeps_what_a_sort_of_all_keeps(found, k, cuts, backwards, flush):
    groups = np.searchsorted(sorted(cuts), [e[2] for e in found], side="right")
    top = Kept(N_LATENTS, k, strongest)
    order = sorted(set(groups.tolist()), reverse=backwards)
    for group in order:
        add(top, [e for e, g in zip(found, groups, strict=True) if g == group], flush)
    top.flush()
    assert content(top) == expected(found, k)


@given(entries, st.integers(1, 5), st.integers(0, 13))
def test_two_parts_merged_keep_what_one_keeps(found, k, cut):
    parts = [Kept(N_LATENTS, k, strongest) for _ in range(2)]
    for entry_part, top in enumerate(parts):
        add(top, [e for e in found if (e[2] >= cut) == bool(entry_part)])
    parts[0].absorb(parts[1])
    assert content(parts[0]) == expected(found, k)


def test_an_image_comes_in_once_with_its_largest_patch_and_the_first_of_equal_ones():
    top = Kept(1, 3, strongest)
    patches = [(0, 1.0, 4, 0), (0, 2.0, 4, 2), (0, 2.0, 4, 1), (0, 1.5, 3, 0)]
    add(top, patches)
    assert content(top) == [[(2.0, 4, 1), (1.5, 3, 0), (-1, -1, -1)]]


def test_the_weakest_images_are_kept_by_their_largest_patch_in_rising_order():
    kept = Kept(1, 2, weakest)
    add(kept, [(0, 1.0, 4, 0), (0, 2.0, 4, 2), (0, 1.5, 3, 0), (0, 3.0, 5, 0), (0, 1.5, 2, 1)])
    assert content(kept) == [[(1.5, 2, 1), (1.5, 3, 0)]]


@given(st.integers(1, 6), st.lists(st.integers(0, 199), max_size=3), st.booleans())
def test_the_random_sample_does_not_depend_on_how_the_images_are_cut_up(k, cuts, backwards):
    found = [(j, 1.0, row, 0) for j in range(N_LATENTS) for row in range(200)]
    whole, parts = Kept(N_LATENTS, k, drawn), Kept(N_LATENTS, k, drawn)
    add(whole, found)
    group = np.searchsorted(sorted(cuts), [e[2] for e in found], side="right").tolist()
    for one in sorted(set(group), reverse=backwards):
        part = Kept(N_LATENTS, k, drawn)
        add(part, [e for e, g in zip(found, group, strict=True) if g == one])
        parts.absorb(part)
    assert content(parts) == content(whole)


def test_every_image_is_drawn_equally_often_and_latents_draw_independently():
    n, rows = 3000, np.arange(40)
    kept = Kept(n, 8, drawn)
    latents = np.repeat(np.arange(n), len(rows))
    ones = np.ones(len(latents), np.float32)
    kept.add(latents, ones, np.tile(rows, n), np.full(len(latents), -1, np.int32))
    kept.flush()
    times = np.bincount(kept.rows.reshape(-1), minlength=40)
    # Each is in a sample with probability 1/5: 600 ± 22.
    assert abs(times - 600).max() < 5 * 22
    together = np.corrcoef(*(np.isin(rows, kept.rows[j]).astype(float) for j in (0, 1)))[0, 1]
    assert abs(together) < 0.5
    first = np.bincount(kept.rows[:, 0], minlength=40)
    assert abs(first - 75).max() < 5 * 8.6


def test_fewer_images_than_slots_leave_minus_one():
    top = Kept(2, 3, strongest)
    add(top, [(1, 1.0, 0, 0)])
    assert content(top) == [[(-1, -1, -1)] * 3, [(1.0, 0, 0), (-1, -1, -1), (-1, -1, -1)]]


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 3)), max_size=80),
    st.integers(1, 20),
    st.integers(1, 7),
)
def test_counts_spilled_and_merged_are_those_of_counting(tmp_path_factory, pairs, limit, size):
    folder = tmp_path_factory.mktemp("counts")
    (folder / "runs").mkdir()
    counter = Counter(folder / "runs", 4, limit)
    for start in range(0, len(pairs), size):
        piece = np.array(pairs[start : start + size], np.int64)
        counter.add(piece[:, 0], piece[:, 1])
    names = counter.finish(folder, "label", 5)
    assert all((folder / name).is_file() for name in names)
    run = open_counts(folder, "label", 4)
    counts = {}
    for latent, label in pairs:
        if label >= 0:
            counts[latent * 4 + label] = counts.get(latent * 4 + label, 0) + 1
    assert dict(zip(run.keys.tolist(), run.counts.tolist(), strict=True)) == counts
    assert run.keys.tolist() == sorted(counts)


def test_runs_with_other_codes_are_merged_by_what_the_codes_stand_for(tmp_path):
    runs = []
    for name, codes, latents, labels in (
        ("a", [0, 2], [0, 0, 1], [0, 1, 1]),  # its labels are the merge's 0 and 2
        ("b", [1, 2], [0, 1, 1], [0, 1, 1]),
    ):
        folder = tmp_path / name
        folder.mkdir()
        counter = Counter(folder, 2)
        counter.add(np.array(latents), np.array(labels))
        counter.finish(folder, "label", 2)
        runs.append(open_counts(folder, "label", 2, np.array(codes)))
    for limit in (1, 100):
        pieces = list(merged(runs, 2, 3, limit))
        keys, counts = (np.concatenate(c).tolist() for c in zip(*pieces, strict=True))
        assert dict(zip(keys, counts, strict=True)) == {0: 1, 1: 1, 2: 1, 5: 3}
        assert keys == sorted(keys)


@pytest.mark.parametrize("limit", [1, 4, 100])
def test_values_are_added_up_beside_the_counts(tmp_path, limit):
    (tmp_path / "runs").mkdir()
    counter = Counter(tmp_path / "runs", 3, limit, sums=True)
    counter.add(np.array([0, 2, 0]), np.array([1, -1, 1]), np.array([0.5, 9, 0.25], np.float32))
    counter.add(np.array([2, 0]), np.array([2, 1]), np.array([4, 1], np.float32))
    assert len(counter.finish(tmp_path, "label", 3)) == 3
    run = open_counts(tmp_path, "label", 3, sums=True)
    pieces = zip(*with_sums([run, run], 3, 3, limit), strict=True)
    found = [np.concatenate(column).tolist() for column in pieces]
    assert found == [[1, 8], [6, 2], [3.5, 8]]


def test_merging_holds_no_more_than_the_limit_at_a_time(tmp_path):
    counter = Counter(tmp_path, 10, limit=50)
    pairs = np.stack(np.meshgrid(np.arange(100), np.arange(10)), -1).reshape(-1, 2)
    counter.add(pairs[:, 0], pairs[:, 1])
    assert counter.n_runs == 1
    counter.finish(tmp_path, "label", 100)
    pieces = [len(keys) for keys, _ in merged([open_counts(tmp_path, "label", 10)], 100, 10, 50)]
    assert sum(pieces) == 1000
    assert max(pieces) == pytest.approx(50)
