"""The analysis: every figure derived again by plain loops."""

import json
import math
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from analysed import RELU, TOPK, Case, some_labels, vectors
from safetensors.numpy import load_file

from saev.analyze.artifact import Analysis
from saev.analyze.baseline import sample
from saev.core.blocks import held_out_mask

ABSENT = (0, 7, 300, 511)
CASES = [(0, TOPK), (5, TOPK), (0, RELU), (3, RELU)]


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
            weak = sorted((h["z"][i, :, j].max(), i) for i in h["rows"] if h["z"][i, :, j].any())
            n_weak = min(8, len(weak))
            kept = tensors["weakest_rows"][j].tolist()
            assert kept == [row for _, row in weak[:n_weak]] + [-1] * (8 - n_weak)
            rows = {row for _, row in weak}
            sample = [row for row in tensors["drawn_rows"][j].tolist() if row >= 0]
            assert len(set(sample)) == len(sample) == min(32, len(rows))
            assert set(sample) <= rows
            for value, row in zip(tensors["drawn_values"][j].tolist(), sample, strict=False):
                assert value == pytest.approx(h["z"][row, :, j].max(), rel=1e-4, abs=1e-5)
            mean = tensors["sum_activation"][j] / tensors["fire_count"][j]
            assert case.columns["mean_activation"][j] == pytest.approx(mean)


def test_places_are_counted_where_there_are_patches(case):
    z, found = case.by_hand["z"][case.by_hand["rows"]], case.tensors["positions"]
    if case.values.ndim == 3:
        assert (found == (z > 0).sum(0).T).all()
    else:
        assert found.shape == (24, 0)
        assert not any(case.columns["positional"])


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
            assert columns[f"common_label.{name}"][j] == common
            largest = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:8]
            assert columns[f"firing_labels.{name}"][j] == [text for text, _ in largest]
            assert columns[f"firing_counts.{name}"][j] == [count for _, count in largest]
            bases = [seen.count(text) / len(seen) for text, _ in largest]
            assert columns[f"firing_bases.{name}"][j] == pytest.approx(bases)
            of_top = columns[f"top_label.{name}"][j]
            held = counts[of_top] / n if n >= 10 else None
            assert columns[f"top_label_share.{name}"][j] == held
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
            common = min((t for t in counts if counts[t] == max(counts.values())), default=None)
            assert columns[f"top_label.{name}"][j] == common
            assert columns[f"label_purity_top.{name}"][j] == share
            assert columns[f"top_label_count.{name}"][j] == max(counts.values(), default=0)
            base = seen.count(common) / len(seen) if common else None
            assert columns[f"top_label_base.{name}"][j] == base
            # Four top images are too few for a lift.
            assert columns[f"label_lift.{name}"][j] is None
            assert not columns[f"named.{name}"][j]
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
