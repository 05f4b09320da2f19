"""What a tower can do with reconstructions, and editing what it sees."""

import json
import threading

import numpy as np
import pytest
import torch
from analysed import TOPK, write_labels, write_sae
from dictionaries import make, vectors
from evaluated import OFF
from recording import list_images, record, settings, write_pictures
from sklearn.linear_model import LogisticRegression

from saev.activations.artifact import Activations
from saev.activations.towers.splice import spliced
from saev.activations.towers.tower import load_tower, normalise
from saev.analyze.artifact import n_parts
from saev.analyze.inputs import open_inputs
from saev.analyze.merge import write_merged
from saev.analyze.parts import write_part
from saev.core.errors import UserError
from saev.evaluate import downstream, softmax
from saev.evaluate.ablation import ablating, of_equal_frequency
from saev.evaluate.auroc import resampled
from saev.evaluate.edit import edited
from saev.evaluate.made_from import Folders
from saev.evaluate.measure import Evaluator
from saev.evaluate.opened import open_all
from saev.evaluate.tower_outputs import Rerun
from saev.images.artifact import Images
from saev.labels.artifact import labels_folder
from saev.settings.analysis import AnalysisResolved, AnalysisSettings
from saev.settings.evaluation import EvaluationSettings
from saev.settings.labels import LabelSettings
from saev.settings.vit import VitSettings

N = 80


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Images in two folders, and what a tiny tower gives for them."""
    folder = tmp_path_factory.mktemp("downstream")
    write_pictures(folder / "pictures", N)
    listed = list_images(folder / "pictures", folder / "results/pets")
    return record(listed, listed / "vit", settings(folder), range(1))


@pytest.mark.parametrize("model", [None, "timm/vit_tiny_patch16_224"])
@pytest.mark.parametrize("kind", ["cls", "patches", "pooled"])
def test_a_splice_changes_its_stream_and_nothing_else(tmp_path, model, kind):
    small = settings(tmp_path)
    if model:
        small |= {"model": model, "image_size": 32, "layers": [0, 1]}
    tower = load_tower(VitSettings.model_validate_json(json.dumps(small)))
    pixels = torch.randint(0, 255, (8, 32, 32, 3), dtype=torch.uint8)
    inputs = normalise(pixels, tower.geometry)
    streams = {(s.kind, s.layer): s for s in tower.streams}
    stream = streams[kind, None if kind == "pooled" else 0]
    before = tower.forward(inputs)
    seen = []

    def same(x):
        seen.append(x)
        return x

    output = spliced(tower, inputs, stream, same)
    assert output.numpy() == pytest.approx(before["pooled"].numpy(), abs=1e-5)
    recorded = before[stream.name].reshape(8, stream.n_patches, stream.d)
    assert seen[0].numpy() == pytest.approx(recorded.numpy(), abs=1e-5)
    # A block's norm removes what all dimensions have in common.
    tilted = torch.linspace(-2, 2, stream.d)
    changed = spliced(tower, inputs, stream, lambda x: x * tilted)
    assert (changed - output).abs().max() > 1e-3
    # The hook is gone.
    assert (tower.forward(inputs)["pooled"] == before["pooled"]).all()


def test_a_splice_of_all_patches_decides_what_the_tower_gives(tmp_path):
    tower = load_tower(VitSettings.model_validate_json(json.dumps(settings(tmp_path))))
    streams = {(s.kind, s.layer): s for s in tower.streams}
    one, two = (
        torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(i)) for i in (1, 2)
    )
    # With the class token of block 1 of the other images, the rest no longer matters.
    cls = streams["cls", 1]
    theirs = tower.forward(two)
    given = spliced(tower, one, cls, lambda x: theirs[cls.name][:, None])
    assert given.numpy() == pytest.approx(theirs["pooled"].numpy(), abs=1e-5)


def test_the_probe_is_scikit_learns():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 300)
    x = rng.standard_normal((300, 4)) * [1, 2, 3, 0.1] + codes[:, None]
    probe = softmax._fit(torch.from_numpy(x), torch.from_numpy(codes), 3, penalty=0.5)
    u = (x - x.mean(0)) / x.std(0)
    theirs = LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000).fit(u, codes)
    chances = torch.softmax(probe.logits(torch.from_numpy(x)), 1).numpy()
    assert chances == pytest.approx(theirs.predict_proba(u), abs=1e-4)
    chosen = softmax.fit(torch.from_numpy(x), torch.from_numpy(codes), 3, seed=0)
    assert chosen.penalty in softmax.PENALTIES


def test_the_loss_recovered_is_what_is_kept_of_what_zeros_lose():
    losses = {"original": [1, 1], "reconstruction": [1, 2], "zeros": [3, 5], "mean": [3, 5]}
    right = {name: np.array([1.0, float(name == "original")]) for name in losses}
    found = downstream.figures(
        {name: np.array(v, float) for name, v in losses.items()},
        right,
        resampled(2, 20, seed=0),
        "kind",
        "",
    )
    named = {figure.name: figure for figure in found}
    recovered = named["loss_recovered"]
    assert recovered.measured.value == pytest.approx((4 - 1.5) / (4 - 1))
    assert recovered.baselines["original"].value == 1
    assert recovered.baselines["mean"].value == 0
    assert named["accuracy"].measured.value == 0.5
    assert named["cross_entropy"].baselines["zeros"].value == 4


def test_an_edited_vector_has_the_latents_asked_for_and_keeps_its_error():
    sae = make("topk", k=5)
    x = vectors(64)
    z = sae.encode(x)
    j = int((z > 0).sum(0).argmax())
    found = edited(sae, x, {j: 0.5, 7: 1.0}, "scale")
    expected = x - 0.5 * z[:, j : j + 1] * sae.W_dec[j] * sae.norm_scale
    assert found.numpy() == pytest.approx(expected.detach().numpy(), abs=1e-5)
    rest = (z[:, j] == 0).numpy()
    assert rest.any()
    assert (found.numpy()[rest] == x.numpy()[rest]).all()
    everywhere = edited(sae, x, {j: 2.0}, "set")
    moved = ((everywhere - x) / sae.norm_scale) @ sae.W_dec[j]
    assert moved.detach().numpy() == pytest.approx((2 - z[:, j]).detach().numpy(), abs=1e-4)


def test_a_latent_is_ablated_beside_another_of_about_its_frequency():
    counts = np.array([0, 1000, 50, 52, 900, 51, *range(200, 400, 10)])
    found = of_equal_frequency(np.array([1, 2]), counts, seed=0)
    assert found[0] != 1
    assert found[1] != 2
    assert abs(counts[found[1]] - 50) <= 250
    assert (of_equal_frequency(np.array([1, 2]), counts, seed=0) == found).all()


def test_only_the_ablated_latent_of_each_image_is_taken_out(recorded, tmp_path):
    found = evaluator(recorded, "layer-00.patches", tmp_path)
    inputs = found.opened.inputs
    x = torch.from_numpy(recorded.float32(recorded.take(inputs.stream, np.arange(6))))
    latent = np.array([9, 9, 3, 4, 5, 6, 7])
    changed = ablating(inputs, latent)(x[:5], slice(2, 7))
    for i in range(5):
        alone = edited(inputs.sae, x[i], {int(latent[2 + i]): 0.0}, "scale")
        assert (changed[i] == alone).all()


def test_an_ablation_of_a_label_stands_beside_random_latents(recorded, tmp_path):
    found = evaluator(recorded, "layer-01.cls", tmp_path, ablation="kind")
    found.run()
    (figure,) = (f for f in found.results.figures if f.metric == "ablation")
    assert figure.name == "logit_fall"
    assert figure.measured.value is not None
    assert set(figure.baselines) == {"latents_of_equal_frequency"}
    assert 0 < figure.n < N / 2
    assert "nothing changed" not in figure.note


def test_an_ablation_that_changes_no_output_says_so(recorded, tmp_path):
    found = evaluator(recorded, "layer-01.patches", tmp_path, ablation="kind")
    found.run()
    (figure,) = (f for f in found.results.figures if f.metric == "ablation")
    assert figure.measured.value == 0
    assert "the tower's output doesn't depend on layer-01.patches" in figure.note


def evaluator(reader, stream, tmp_path, **given):
    """An evaluation of a dictionary of ``stream``, with the folders as labels."""
    sae = write_sae(
        reader.path / f"{stream}-{tmp_path.name}", reader.path, stream, {**TOPK, "k": 8}
    )
    analysis = AnalysisSettings(labels={"kind": LabelSettings(folder=True)})
    table = labels_folder(reader.path.parent, analysis.essential()["labels"])
    if not table.exists():
        write_labels(table, N, {"kind": ["a"] * (N // 2) + ["b"] * (N // 2)})
    inputs = open_inputs(analysis, sae, reader.path, table, torch.device("cpu"))
    out = sae / "analysis"
    for part in range(n_parts(N)):
        scratch = tmp_path / f"part-{part}"
        scratch.mkdir()
        write_part(inputs, analysis, part, out, scratch)
    write_merged(inputs, analysis, AnalysisResolved(), n_parts(N), out, out)
    opened = open_all(Folders(out, sae, reader.path, table), torch.device("cpu"))
    return Evaluator(opened, EvaluationSettings(**OFF, **given), tmp_path)


@pytest.mark.parametrize("stream", ["layer-01.cls", "layer-00.patches", "pooled"])
def test_the_error_added_back_gives_the_original(recorded, tmp_path, stream):
    found = evaluator(recorded, stream, tmp_path, downstream="kind")
    found.run()
    named = {f.name: f for f in found.results.figures if f.metric == "downstream"}
    assert set(named) == {"accuracy", "cross_entropy", "loss_recovered"}
    for figure in named.values():
        assert set(figure.baselines) == {"original", "with_error", "zeros", "mean", "pca"}
        assert figure.split == "held_out"
        original, back = (figure.baselines[name].value for name in ("original", "with_error"))
        if original is not None:
            assert back == pytest.approx(original, abs=1e-4)
    losses = named["cross_entropy"].baselines
    assert losses["zeros"].value != pytest.approx(losses["original"].value, abs=1e-3)


def test_a_stream_on_which_the_output_does_not_depend_is_named(recorded, tmp_path):
    # The output of this tower is made from the class token.
    found = evaluator(recorded, "layer-01.patches", tmp_path, downstream="kind")
    found.run()
    for figure in found.results.figures[1:]:
        assert "doesn't depend on layer-01.patches: take an earlier block" in figure.note
    assert figure.name == "loss_recovered"
    assert figure.measured.value is None


def test_an_image_that_was_replaced_is_named(recorded, tmp_path):
    path = recorded.path.parents[2] / "pictures/a/0000.png"
    kept = path.read_bytes()
    other = recorded.path.parents[2] / "pictures/a/0002.png"
    try:
        path.write_bytes(other.read_bytes())
        found = evaluator(recorded, "layer-00.cls", tmp_path, downstream="kind")
        with pytest.raises(UserError, match=r"a/0000\.png \(row 0\) of .* has changed or vanished"):
            found.run()
    finally:
        path.write_bytes(kept)


def test_one_thread_alone_reads_the_listing_and_the_records(recorded, monkeypatch):
    seen = set()

    def watched(kind, name):
        real = getattr(kind, name)

        def read(*given):
            seen.add((name, threading.current_thread()))
            return real(*given)

        monkeypatch.setattr(kind, name, read)

    watched(Images, "read")
    watched(Activations, "records")
    rerun = Rerun(recorded, recorded.path.parent, torch.device("cpu"), workers=4)
    stream = recorded.streams["layer-01.cls"]
    rows = np.arange(0, N, 3)
    outputs = rerun.outputs(rows, stream, {"original": None})["original"]
    assert len(outputs) == len(rows)
    assert {thread for _, thread in seen} == {threading.main_thread()}
    assert {name for name, _ in seen} == {"read", "records"}
