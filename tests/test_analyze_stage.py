"""The analysis as a stage: partition, kills, altered files, and what it is given."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from analysed import TOPK, Case, cycling, some_labels, vectors, write_labels
from safetensors.numpy import load_file
from synthetic import write_activations

from saev.activations.artifact import Activations
from saev.analyze.artifact import PART, n_parts, part_json
from saev.analyze.counts import PairCounts
from saev.analyze.figures import (
    chance_of,
    chance_top,
    entropy_top,
    label_figures,
    purity_top,
    top_labels,
)
from saev.analyze.histogram import BINS, EDGES, bin_of
from saev.analyze.mapped import release
from saev.analyze.merge import write_merged
from saev.analyze.parts import write_part
from saev.core import metrics
from saev.core.blocks import BLOCK
from saev.core.errors import UserError
from saev.settings.analysis import AnalysisResolved

ABSENT = (0, 7, 300, 511)


@pytest.mark.parametrize("patches", [0, 3])
def test_shards_threads_and_a_second_run_change_no_byte(tmp_path, patches):
    values, labels = vectors(1100, patches=patches), some_labels(1100)
    found = []
    threads = torch.get_num_threads()
    try:
        for shard_images, n in ((256, 1), (512, 2), (1280, 2)):
            torch.set_num_threads(n)
            folder = tmp_path / f"{shard_images}-{n}"
            case = Case(folder, values, labels, absent=ABSENT, shard_images=shard_images)
            summary = case.analyse(512)
            found.append((case.results(), summary))
    finally:
        torch.set_num_threads(threads)
    for results, summary in found[1:]:
        assert summary == found[0][1]
        for name in ("latents.safetensors", "latents.parquet"):
            assert results[name] == found[0][0][name]


def test_parts_of_another_size_change_no_count(tmp_path):
    values, labels = vectors(1100, patches=2), some_labels(1100)
    a, b = (Case(tmp_path / name, values, labels) for name in "ab")
    first, second = a.analyse(256), b.analyse(2048)
    ours, theirs = (load_file(c.out / "latents.safetensors") for c in (a, b))
    for name in ours:
        if name != "sum_activation":
            assert (ours[name] == theirs[name]).all(), name
    assert first["all"] == second["all"]
    assert first["splits"]["train"]["nmse"] == pytest.approx(second["splits"]["train"]["nmse"])


def test_equal_images_are_kept_in_the_order_of_rows(tmp_path):
    case = Case(tmp_path, np.repeat(vectors(1), 300, axis=0), {})
    case.analyse()
    rows = load_file(case.out / "latents.safetensors")["top_rows"]
    assert {tuple(r) for r in rows.tolist()} == {(0, 1, 2, 3), (-1, -1, -1, -1)}


def test_vectors_without_variance_have_no_nmse(tmp_path):
    summary = Case(tmp_path, np.repeat(vectors(1), 300, axis=0), {}).analyse()
    assert summary["splits"]["train"]["nmse"] is None
    assert summary["splits"]["train"]["explained_variance"] is None
    assert summary["splits"]["train"]["pca_nmse"] is None


def test_a_dictionary_without_held_out_images_has_no_figures_of_them(tmp_path):
    case = Case(tmp_path, vectors(300), {}, sae={**TOPK, "held_out": 0.0})
    summary = case.analyse()
    assert summary["splits"]["held_out"] is None
    assert summary["splits"]["train"]["n_images"] == 300
    assert summary["labels"] == {}


def test_the_fast_sums_are_those_of_the_metrics_module(tmp_path):
    case = Case(tmp_path, vectors(300), {}, sae={**TOPK, "held_out": 0.0})
    figures = case.analyse()["splits"]["train"]
    sae = case.open().sae
    x = torch.from_numpy(case.values)
    z = sae.encode(x)
    u, uh = sae.normalise(x).numpy(), sae.normalise(sae.decode(z)).numpy()
    sums = metrics.block_sums(u, uh, (z > 0).sum(1).numpy(), z.sum(1).numpy(), u.mean(0))
    for name, figure in metrics.FIGURES.items():
        assert figures[name] == pytest.approx(figure(sums), rel=1e-5)


def test_bins_are_those_of_a_search_also_at_the_edges_and_beyond():
    at = EDGES.astype(np.float32)
    values = [at, np.nextafter(at, np.float32(0)), np.nextafter(at, np.float32(np.inf))]
    values = np.concatenate([*values, np.float32([1e-30, 1e-45, 3e38, 1])])
    expected = np.searchsorted(EDGES, values.astype(np.float64), side="right") - 1
    assert (bin_of(values) == expected.clip(0, BINS - 1)).all()
    assert EDGES[bin_of(np.float32([1.0]))] == 1


def test_entropy_and_purity_of_counts_worked_out_by_hand():
    # Latent 0: 9 of label 0 and 3 of label 2; latent 2: 5 of label 1.
    run = PairCounts(np.array([0, 2, 7]), np.array([9, 3, 5]), 3)
    found = label_figures([run], 4, 3, np.array([2, 0, 1, -1]))
    for n, purity in ((9, np.nan), (10, 1)):
        one = PairCounts(np.array([0]), np.array([n]), 3)
        np.testing.assert_equal(label_figures([one], 1, 3, np.array([0])).purity, [purity])
    assert found.support.tolist() == [12, 0, 5, 0]
    assert found.purity[0] == 0.75
    assert found.entropy[0] == pytest.approx(0.5623351446188083 / 1.0986122886681098)
    assert np.isnan(found.entropy[1:]).all()
    assert np.isnan(found.purity[1:]).all()
    np.testing.assert_equal(found.share, [0.25, np.nan, np.nan, np.nan])
    assert found.common[:, :3].tolist() == [[0, 2, -1], [-1] * 3, [1, -1, -1], [-1] * 3]
    assert found.counts[:, :3].tolist() == [[9, 3, 0], [0] * 3, [5, 0, 0], [0] * 3]


def test_top_figures_worked_out_by_hand():
    codes = np.array([[1, 1, 0, -1], [2, -1, -1, -1], [-1, -1, -1, -1]])
    present = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], bool)
    np.testing.assert_equal(purity_top(codes, present), [0.5, 0.5, np.nan])
    values = np.array([[4.0, 2.0, 2.0, 9.0], [1.0, 0, 0, 0], [0, 0, 0, 0]])
    # Shares 3/4 and 1/4 of two labels in four: (0.75 ln 4/3 + 0.25 ln 4) / ln 4.
    expected = [0.40563906222956647, 0, np.nan]
    np.testing.assert_allclose(entropy_top(codes, values, 4), expected, rtol=1e-12)


def test_the_number_of_parts_covers_all_images():
    assert [n_parts(n) for n in (1, PART, PART + 1)] == [1, 1, 2]
    assert PART % BLOCK == 0


def run_cli(case, *arguments, threads=1):
    command = [sys.executable, "-m", "saev.analyze", *map(str, arguments), "--out", str(case.out)]
    command += [
        "--spec",
        json.dumps({"settings": case.settings.essential()}),
        "--threads",
        str(threads),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_the_command_line_makes_the_same_files_and_says_errors_in_a_line(tmp_path):
    case = Case(tmp_path, vectors(600, patches=3), some_labels(600))
    common = ("--sae", case.sae, "--activations", case.activations, "--labels", case.table)
    assert run_cli(case, "part", *common, "--part", 0).returncode == 0
    done = run_cli(case, "merge", *common, "--n-parts", 1)
    assert done.returncode == 0, done.stderr
    assert "dead" in done.stderr
    results = case.results()
    assert json.loads((case.out / "run.json").read_text())["vectors_per_second"] > 0
    assert not (case.out / ".state").exists()
    case.analyse(PART)
    assert case.results() == results
    checkpoint = case.sae / "checkpoint.safetensors"
    data = bytearray(checkpoint.read_bytes())
    data[-1] ^= 1
    checkpoint.write_bytes(data)
    failed = run_cli(case, "part", *common, "--part", 0)
    assert failed.returncode == 1
    assert "altered" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_part_that_was_killed_and_begun_anew_gives_the_same_bytes(tmp_path):
    values, labels = vectors(600), some_labels(600)
    whole, killed = (Case(tmp_path / name, values, labels) for name in ("a", "b"))
    whole.analyse()

    class Killed(BaseException):
        pass

    inputs = killed.open()
    read = inputs.activations.read

    def dies(stream, start, stop):
        raise Killed

    killed.part(0)
    killed.part(2)
    inputs.activations.read = dies
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(Killed):
        write_part(inputs, killed.settings, 1, killed.out, scratch, BLOCK)
    assert not (killed.out / "parts/00001.json").exists()
    inputs.activations.read = read
    killed.part(1)
    write_merged(
        killed.open(), killed.settings, AnalysisResolved(), 3, killed.out, killed.out, BLOCK
    )
    assert killed.results() == whole.results()


def test_an_altered_shard_is_refused(tmp_path):
    case = Case(tmp_path, vectors(600), {})
    path = case.activations / "layer-01.cls/shard-00001.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    case.part(0)
    with pytest.raises(UserError, match=r"shard-00001\.npy has another SHA-256"):
        case.part(1)


def test_an_altered_part_is_refused_by_the_merge(tmp_path):
    case = Case(tmp_path, vectors(300), {})
    case.analyse()
    path = case.out / "parts/00001/totals.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"totals\.safetensors"):
        write_merged(case.open(), case.settings, AnalysisResolved(), 2, case.out, case.out, BLOCK)


def test_a_part_by_an_older_version_isnt_merged(tmp_path):
    case = Case(tmp_path, vectors(300), {})
    case.analyse()
    path = case.out / part_json(0)
    content = json.loads(path.read_text())
    del content["format"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="made from other format"):
        write_merged(case.open(), case.settings, AnalysisResolved(), 2, case.out, case.out, BLOCK)


def test_a_part_of_other_labels_isnt_merged(tmp_path):
    case = Case(tmp_path, vectors(300), {"kind": cycling(300, "a", "b")})
    case.part(0)
    write_labels(case.table, 300, {"kind": cycling(300, "a", "c")})
    case.part(1)
    with pytest.raises(UserError, match="made from other labels_sha256"):
        write_merged(case.open(), case.settings, AnalysisResolved(), 2, case.out, case.out, BLOCK)


def test_other_activations_than_those_of_the_training_need_on(tmp_path):
    case = Case(tmp_path, vectors(300), {})
    other = Case(tmp_path / "other", vectors(280, seed=1), {})
    with pytest.raises(UserError, match="trained on other activations"):
        case.open(activations_folder=other.activations, labels=other.table)
    case.settings = case.settings.model_copy(update={"on": "other-12345678"})
    case.activations, case.table, case.values = other.activations, other.table, other.values
    summary = case.analyse()
    assert list(summary["splits"]) == ["other"]
    assert summary["splits"]["other"]["n_images"] == 280
    assert summary["splits"]["other"]["pca_n_fit"] == 280


def test_activations_of_another_width_stream_or_tower_are_refused(tmp_path):
    case = Case(tmp_path, vectors(300), {})
    case.settings = case.settings.model_copy(update={"on": "other-12345678"})

    def refused(folder, streams, match, **weights):
        path = write_activations(tmp_path / folder, streams)
        if weights:
            meta = json.loads((path / "meta.json").read_text())
            meta["summary"] |= weights
            (path / "meta.json").write_text(json.dumps(meta))
        with pytest.raises(UserError, match=match):
            case.open(activations_folder=path)

    refused("width", {"layer-01.cls": vectors(300, d=12)}, "width 12")
    refused("stream", {"layer-00.cls": vectors(300)}, r"holds only: layer-00\.cls")
    same = {"layer-01.cls": vectors(300, seed=3)}
    refused("tower", same, "weights_sha256 None", weights_sha256="ab" * 32)


def test_a_table_of_other_labels_or_images_is_refused(tmp_path):
    case = Case(tmp_path, vectors(300), {"kind": cycling(300, "a")})
    with pytest.raises(UserError, match="280"):
        case.open(labels=write_labels(tmp_path / "few", 280, {"kind": cycling(280, "a")}))
    with pytest.raises(UserError, match="type"):
        case.open(labels=write_labels(tmp_path / "type", 300, {"type": cycling(300, "a")}))


def test_a_part_that_isnt_there_is_refused(tmp_path):
    case = Case(tmp_path, vectors(300), {})
    with pytest.raises(UserError, match="have 2 parts"):
        case.part(2)


def test_every_image_is_counted_once(tmp_path):
    # The last latent fires on every vector: what is counted of it is counted of the images.
    labels = {"kind": cycling(700, "a", "b", None)}
    case = Case(tmp_path, vectors(700, patches=2), labels, absent=ABSENT, always=1)
    case.analyse()
    columns = pq.read_table(case.out / "latents.parquet").to_pydict()
    assert columns["fire_count"][-1] == 2 * 696
    assert columns["image_count"][-1] == 696
    assert columns["fire_rate"][-1] == 1
    labelled = [i for i in range(700) if i not in ABSENT and i % 3 != 2]
    assert columns["label_support.kind"][-1] == len(labelled)
    assert len(Activations(case.activations).rows(0, 700)) == 696


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_pages_of_a_mapped_file_are_given_back_and_can_be_read_again(tmp_path):
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[2]) * os.sysconf("SC_PAGE_SIZE")

    case = Case(tmp_path, vectors(1024, d=10, patches=500), {}, shard_images=1024)
    reader = Activations(case.activations)
    stream = reader.streams[case.stream]
    values = reader.read(stream, 0, 1024)[1][3:]
    total = values.sum()
    before = resident()
    release(values)
    assert before - resident() > 0.9 * values.nbytes
    assert values.sum() == total
    release(np.zeros(3))


@pytest.mark.parametrize("sizes", [[100, 100], [150, 40, 10], [20] * 10])
@pytest.mark.parametrize("n", [3, 12, 60])
def test_shuffled_labels_seldom_beat_their_chance(sizes, n):
    rng, images = np.random.default_rng(0), np.array(sizes)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    counts = np.array(
        [np.bincount(rng.choice(labels, n, False), minlength=len(sizes)) for _ in range(2000)]
    )
    top, largest = counts.argmax(1), counts.max(1)
    chance = chance_of(largest / n, np.full(2000, n), images[top] / 200, len(sizes))
    for bound in (0.3, 0.1, 0.01):
        assert (chance < bound).mean() <= bound


def test_a_label_that_a_latent_prefers_beats_chance_and_one_that_all_images_have_does_not():
    rare, common = chance_of(np.array([1.0, 0.6]), np.array([12, 200]), np.array([0.1, 0.55]), 10)
    assert rare == pytest.approx(10 * 0.1**12)
    assert common > 0.9
    alone = chance_of(np.array([1.0]), np.array([500]), np.array([1.0]), 1)
    below = chance_of(np.array([0.2]), np.array([500]), np.array([0.3]), 3)
    assert alone == below == 1


def test_the_label_of_the_top_images_and_its_chance_are_those_of_these_images_alone():
    images = np.array([150, 850])
    codes = np.array([[0] * 16, [0] * 3 + [1] * 13, [-1] * 16, [1, 0, 0, 1] + [-1] * 12])
    found = top_labels(codes)
    assert found.code.tolist() == [0, 1, -1, 0]
    assert found.n.tolist() == [16, 13, 0, 2]
    chance = chance_top(codes, images)
    assert chance[0] == pytest.approx(2 * 0.15**16)
    assert chance[1] == 1
    assert np.isnan(chance[2])
    assert 0.5 < chance[3] <= 1
    assert np.isnan(chance_top(codes[2:3], np.array([], np.int64)))
