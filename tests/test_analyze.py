"""The analysis: every figure derived again by plain loops; partition, kills and altered files."""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from analysed import RELU, TOPK, Case, cycling, vectors, write_label_table
from safetensors.numpy import load_file
from synthetic import write_activations

from saev import metrics
from saev.analysis.baseline import sample
from saev.analysis.counts import Run
from saev.analysis.figures import entropy_top, label_figures, purity_top
from saev.analysis.histogram import BINS, EDGES, bin_of
from saev.analysis.mapped import release
from saev.analysis.merge import write_merged
from saev.analysis.parts import write_part
from saev.artifacts.activations import Activations
from saev.artifacts.analysis import PART, Analysis, n_parts
from saev.blocks import BLOCK, held_out_mask
from saev.errors import UserError

ABSENT = (0, 7, 300, 511)
CASES = [(0, TOPK), (5, TOPK), (0, RELU), (3, RELU)]


def some_labels(n):
    kinds = [f"c{(i * i) % 5}" if i % 7 else None for i in range(n)]
    return {"kind": kinds, "only": cycling(n, "x"), "never": cycling(n, None)}


@pytest.fixture(scope="module", params=CASES, ids=lambda c: f"{c[1]['architecture']}-{c[0]}")
def case(request, tmp_path_factory):
    patches, sae = request.param
    n = 600
    made = Case(
        tmp_path_factory.mktemp("case"),
        vectors(n, patches=patches),
        some_labels(n),
        absent=ABSENT,
        sae=sae,
    )
    made.summary = made.analyse()
    made.by_hand = derive(made)
    made.tensors = load_file(made.out / "latents.safetensors")
    made.columns = pq.read_table(made.out / "latents.parquet").to_pydict()
    return made


def derive(case):
    """All latents of all present vectors, in float64 and without the package's code."""
    tensors = load_file(case.sae / "checkpoint.safetensors")
    t = {name: value.astype(np.float64) for name, value in tensors.items()}
    settings = json.loads((case.sae / "meta.json").read_text())["settings"]
    x = case.values.astype(np.float64).reshape(len(case.values), -1, case.values.shape[-1])
    u = (x - t["norm_mean"]) / t["norm_scale"]
    z = np.maximum((u - t["b_dec"]) @ t["W_enc"] + t["b_enc"], 0)
    if settings["architecture"] == "topk":
        z[z < np.sort(z, axis=-1)[..., [-settings["k"]]]] = 0
    xh = (z @ t["W_dec"] + t["b_dec"]) * t["norm_scale"] + t["norm_mean"]
    rows = [i for i in range(len(x)) if i not in case.absent]
    return {"x": x, "xh": xh, "z": z, "rows": rows, "t": t}


def test_counts_and_sums_are_those_of_a_plain_loop(case):
    h, tensors = case.by_hand, case.tensors
    z = h["z"][h["rows"]]
    assert case.summary["all"]["n_images"] == len(h["rows"]) == 596
    assert case.summary["all"]["n_vectors"] == z[..., 0].size
    assert case.summary["n_skipped"] == len(ABSENT)
    for j in range(z.shape[-1]):
        values = z[..., j][z[..., j] > 0]
        assert tensors["fire_count"][j] == len(values)
        assert tensors["image_count"][j] == (z[..., j] > 0).any(1).sum()
        assert tensors["sum_activation"][j] == pytest.approx(values.sum(), rel=1e-5)
        assert (tensors["histogram"][j] == np.histogram(values, tensors["bin_edges"])[0]).all()
    assert case.columns["fire_rate"] == (tensors["fire_count"] / z[..., 0].size).tolist()
    assert case.summary["all"]["n_dead"] == (tensors["fire_count"] == 0).sum() >= 2
    rates = np.array(case.columns["fire_rate"])
    assert case.summary["all"]["n_dense"] == (rates > 0.1).sum()
    assert case.summary["all"]["n_dense_0.01"] == (rates > 0.01).sum()


def test_top_images_are_those_of_a_plain_sort(case):
    h, tensors = case.by_hand, case.tensors
    patches = case.values.ndim == 3
    for j in range(h["z"].shape[-1]):
        best = [(-h["z"][i, :, j].max(), i, int(h["z"][i, :, j].argmax())) for i in h["rows"]]
        best = sorted(entry for entry in best if entry[0] < 0)[:4]
        n = len(best)
        assert case.columns["n_valid"][j] == n
        assert tensors["top_rows"][j].tolist() == [row for _, row, _ in best] + [-1] * (4 - n)
        expected = [p if patches else -1 for _, _, p in best] + [-1] * (4 - n)
        assert tensors["top_patches"][j].tolist() == expected
        np.testing.assert_allclose(
            tensors["top_values"][j, :n], [-v for v, _, _ in best], rtol=1e-4
        )
        assert (tensors["top_values"][j, n:] == -1).all()
        if n:
            assert case.columns["max_activation"][j] == tensors["top_values"][j, 0]
            mean = tensors["sum_activation"][j] / tensors["fire_count"][j]
            assert case.columns["mean_activation"][j] == pytest.approx(mean)


def test_reconstruction_figures_are_those_of_the_definitions(case):
    h, scale = case.by_hand, case.by_hand["t"]["norm_scale"]
    rows = np.array(h["rows"])
    held = held_out_mask(rows, 0.2, 5)
    assert 0 < held.sum() < len(rows)
    for name, mine in (("train", rows[~held]), ("held_out", rows[held])):
        figures = case.summary["splits"][name]
        x, xh = (h[key][mine].reshape(-1, len(scale)) for key in ("x", "xh"))
        z = h["z"][mine].reshape(len(x), -1)
        assert figures["n_images"] == len(mine)
        assert figures["n_vectors"] == len(x)
        raw = ((x - xh) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
        assert figures["nmse_raw"] == pytest.approx(raw, rel=1e-5)
        u, uh = ((a - h["t"]["norm_mean"]) / scale for a in (x, xh))
        nmse = ((u - uh) ** 2).sum() / ((u - u.mean(0)) ** 2).sum()
        assert figures["nmse"] == pytest.approx(nmse, rel=1e-5)
        assert figures["explained_variance"] == 1 - figures["nmse"]
        assert figures["l0"] == (z > 0).sum() / len(x)
        assert figures["l1"] == pytest.approx(z.sum() / len(x), rel=1e-5)
        cosines = (u * uh).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(uh, axis=1)
        assert figures["cosine"] == pytest.approx(cosines.mean(), rel=1e-5)
        bias = (uh**2).sum() / (u * uh).sum()
        assert figures["relative_reconstruction_bias"] == pytest.approx(bias, rel=1e-5)


def test_the_baseline_is_a_pca_of_the_training_vectors_with_as_many_components_as_l0(case):
    h, t = case.by_hand, case.by_hand["t"]
    rows = np.array(h["rows"])
    held = held_out_mask(rows, 0.2, 5)
    d = len(t["norm_scale"])
    u = (h["x"] - t["norm_mean"]) / t["norm_scale"]
    fit, mean = u[rows[~held]].reshape(-1, d), u[rows[~held]].reshape(-1, d).mean(0)
    directions = np.linalg.svd(fit - mean, full_matrices=False)[2]
    for name, mine in (("train", rows[~held]), ("held_out", rows[held])):
        figures = case.summary["splits"][name]
        rank = min(round(figures["l0"]), d)
        assert (figures["pca_rank"], figures["pca_n_fit"]) == (rank, len(fit))
        v = u[mine].reshape(-1, d)
        assert figures["pca_n_eval"] == len(v)
        error = v - mean - (v - mean) @ directions[:rank].T @ directions[:rank]
        nmse = (error**2).sum() / ((v - v.mean(0)) ** 2).sum()
        assert figures["pca_nmse"] == pytest.approx(nmse, rel=1e-5, abs=1e-12)
        scale = t["norm_scale"]
        raw = ((error * scale) ** 2).sum() / (((v - v.mean(0)) * scale) ** 2).sum()
        assert figures["pca_nmse_raw"] == pytest.approx(raw, rel=1e-5, abs=1e-12)


def test_the_baselines_sample_is_of_the_split_without_repetition_over_all_images(tmp_path):
    # Each vector holds its own number.
    values = np.zeros((700, 3, 10), np.float32)
    values[..., 0] = np.arange(2100).reshape(700, 3)
    inputs = Case(tmp_path, values, {}, absent=ABSENT).open()
    rows = inputs.activations.rows(0, 700)
    mine = rows[~held_out_mask(rows, 0.2, 5)]
    draws = [sample(inputs, "train", 3 * len(mine), purpose, 200) for purpose in (1, 1, 2)]
    first, again, other = (
        inputs.sae.denormalise(torch.cat(list(d)).float())[:, 0].round().long().tolist()
        for d in draws
    )
    assert first == again != other
    assert len(set(first)) == 200
    assert first == sorted(first)
    assert {n // 3 for n in first} <= set(mine.tolist())
    assert np.bincount(np.array(first) % 3, minlength=3).min() > 40
    assert np.bincount(np.array(first) // 525, minlength=4).min() > 25


def test_label_figures_are_those_of_counting(case):
    h, columns = case.by_hand, case.columns
    for name, labels in case.labels.items():
        seen = [labels[i] for i in h["rows"] if labels[i] is not None]
        distinct = len(set(seen))
        assert case.summary["labels"][name] == {"n_labels": distinct, "n_labelled": len(seen)}
        for j in range(h["z"].shape[-1]):
            fires = [i for i in h["rows"] if (h["z"][i, :, j] > 0).any()]
            counts = Counter(labels[i] for i in fires if labels[i] is not None)
            n = sum(counts.values())
            assert columns[f"label_support.{name}"][j] == n
            common = min((t for t in counts if counts[t] == max(counts.values())), default=None)
            assert columns[f"top_label.{name}"][j] == common
            entropy = purity = None
            if n >= 10:
                purity = max(counts.values()) / n
                if distinct > 1:
                    shares = [c / n for c in counts.values()]
                    entropy = -sum(p * math.log(p) for p in shares) / math.log(distinct)
            assert columns[f"label_purity.{name}"][j] == purity
            assert columns[f"label_entropy.{name}"][j] == pytest.approx(entropy, abs=1e-12)
            top = [i for i in case.tensors["top_rows"][j] if i >= 0]
            counts = Counter(labels[i] for i in top if labels[i] is not None)
            share = max(counts.values()) / len(top) if counts else None
            assert columns[f"label_purity_top.{name}"][j] == share
            weights = Counter()
            for i, value in zip(top, case.tensors["top_values"][j].tolist(), strict=False):
                if labels[i] is not None:
                    weights[labels[i]] += value
            entropy = None
            if weights and distinct > 1:
                shares = [w / sum(weights.values()) for w in weights.values()]
                entropy = -sum(p * math.log(p) for p in shares) / math.log(distinct)
            assert columns[f"label_entropy_top.{name}"][j] == pytest.approx(entropy, abs=1e-12)


def test_the_summary_of_purity_is_over_live_latents_with_a_label(case):
    for name in case.labels:
        found = case.summary["all"]["label_purity_top"][name]
        live = [
            p
            for p, n in zip(
                case.columns[f"label_purity_top.{name}"], case.columns["image_count"], strict=True
            )
            if n >= 16 and p is not None
        ]
        assert found["n_latents"] == len(live)
        if live:
            assert found["mean"] == pytest.approx(np.mean(live))
            assert found["share_75"] == np.mean(np.array(live) >= 0.75)
            assert 0 < found["shuffled_mean"] <= 1
        else:
            assert found["mean"] is found["shuffled_mean"] is None
    only = case.summary["all"]["label_purity_top"]["only"]
    assert only["mean"] == only["shuffled_mean"] == only["share_75"] == 1


def test_no_nan_or_infinity_is_in_any_file(case):
    for tensor in case.tensors.values():
        assert np.isfinite(tensor).all()
    for column in case.columns.values():
        assert all(v is None or not isinstance(v, float) or math.isfinite(v) for v in column)
    json.loads((case.out / "meta.json").read_text(), parse_constant=pytest.fail)


def test_a_dead_latent_has_nulls(case):
    assert case.columns["fire_count"][0] == 0
    for name in ("mean_activation", "max_activation", "label_entropy.kind", "top_label.kind"):
        assert case.columns[name][0] is None
    assert case.columns["n_valid"][0] == case.columns["label_support.kind"][0] == 0


def test_the_reader_gives_back_what_was_written(case):
    analysis = Analysis(case.out)
    assert analysis.summary == case.summary
    assert analysis.labels.take(np.array([599, 1]))[0]["kind"] == case.labels["kind"][599]
    assert analysis.labels.names == ["kind", "never", "only"]


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
    run = Run(np.array([0, 2, 7]), np.array([9, 3, 5]), 3)
    found = label_figures([run], 4, 3)
    assert np.isnan(label_figures([Run(np.array([0]), np.array([9]), 3)], 1, 3).purity).all()
    assert label_figures([Run(np.array([0]), np.array([10]), 3)], 1, 3).purity.tolist() == [1]
    assert found.support.tolist() == [12, 0, 5, 0]
    assert found.purity[0] == 0.75
    assert found.entropy[0] == pytest.approx(0.5623351446188083 / 1.0986122886681098)
    assert np.isnan(found.entropy[1:]).all()
    assert np.isnan(found.purity[1:]).all()
    assert found.top.tolist() == [0, -1, 1, -1]


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
    command += ["--spec", json.dumps({"settings": case.settings}), "--threads", str(threads)]
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
    write_merged(killed.open(), killed.settings, 3, killed.out, BLOCK)
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
        write_merged(case.open(), case.settings, 2, case.out, BLOCK)


def test_a_part_of_other_labels_isnt_merged(tmp_path):
    case = Case(tmp_path, vectors(300), {"kind": cycling(300, "a", "b")})
    case.part(0)
    write_label_table(case.out, 300, {"kind": cycling(300, "a", "c")})
    case.part(1)
    with pytest.raises(UserError, match="made from other labels_sha256"):
        write_merged(case.open(), case.settings, 2, case.out, BLOCK)


def test_other_activations_than_those_of_the_training_need_on(tmp_path):
    case = Case(tmp_path, vectors(300), {})
    other = Case(tmp_path / "other", vectors(280, seed=1), {})
    with pytest.raises(UserError, match="trained on other activations"):
        case.open(activations_folder=other.activations, labels=other.table)
    case.settings = {**case.settings, "on": "other-12345678"}
    case.activations, case.table, case.values = other.activations, other.table, other.values
    summary = case.analyse()
    assert list(summary["splits"]) == ["other"]
    assert summary["splits"]["other"]["n_images"] == 280
    assert summary["splits"]["other"]["pca_n_fit"] == 280


def test_activations_of_another_width_stream_or_tower_are_refused(tmp_path):
    case = Case(tmp_path, vectors(300), {})
    case.settings = {**case.settings, "on": "other-12345678"}

    def refused(folder, streams, match, **weights):
        path = write_activations(tmp_path / folder, streams)
        if weights:
            meta = json.loads((path / "meta.json").read_text())
            meta["summary"] |= weights
            (path / "meta.json").write_text(json.dumps(meta))
        with pytest.raises(UserError, match=match):
            case.open(activations_folder=path)

    refused("width", {"layer-01.cls": vectors(300, d=12)}, "width 12")
    refused("stream", {"layer-00.cls": vectors(300)}, r"it holds: layer-00\.cls")
    same = {"layer-01.cls": vectors(300, seed=3)}
    refused("tower", same, "weights_sha256 None", weights_sha256="ab" * 32)


def test_a_table_of_other_labels_or_images_is_refused(tmp_path):
    case = Case(tmp_path, vectors(300), {"kind": cycling(300, "a")})
    with pytest.raises(UserError, match="280"):
        case.open(labels=write_label_table(tmp_path / "few", 280, {"kind": cycling(280, "a")}))
    with pytest.raises(UserError, match="type"):
        case.open(labels=write_label_table(tmp_path / "type", 300, {"type": cycling(300, "a")}))


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
