"""Zero-shot accuracy with spliced reconstructions, beside open_clip's own code."""

import json

import numpy as np
import open_clip
import pytest
import torch
from recording import TINY, list_images, record, settings, write_clip, write_pictures
from test_downstream import N, evaluator
from test_stability import project, resolve

from saev.core.errors import UserError
from saev.evaluate import zero_shot
from saev.evaluate.classes import classes_of
from saev.evaluate.downstream import MOST_JUDGING, some

__all__ = ["project"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A tiny CLIP of open_clip with random weights, and what its tower gives for images."""
    folder = tmp_path_factory.mktemp("zero_shot")
    path = folder / "tinytext.json"
    path.write_text(json.dumps({**TINY, "text_cfg": {**TINY["text_cfg"], "vocab_size": 49408}}))
    model = write_clip(path, seed=3, noise=0.1, scale=1)
    write_pictures(folder / "pictures", N)
    listed = list_images(folder / "pictures", folder / "results/pets")
    given = {"model": str(path), "weights": str(folder / "weights.safetensors")}
    given |= {"dtype": "float32"}
    return model, record(listed, listed / "vit", settings(folder, **given), range(1))


def test_the_original_is_as_good_as_open_clip_says(clip, tmp_path):
    model, reader = clip
    found = evaluator(reader, "layer-00.patches", tmp_path, zero_shot="kind", downstream="kind")
    found.run()
    named = {(f.metric, f.name): f for f in found.results.figures}
    assert {name for metric, name in named if metric == "zero_shot"} == {
        *("accuracy", "cross_entropy", "loss_recovered")
    }
    classes = classes_of(found.opened.inputs, "kind", 0)
    rows, codes = some(classes.judging, classes.judging_codes, MOST_JUDGING, [0, 3])
    tokenizer = open_clip.get_tokenizer("tinytext")
    weights = open_clip.build_zero_shot_classifier(
        model, tokenizer, classes.names, open_clip.OPENAI_IMAGENET_TEMPLATES
    )
    images = torch.from_numpy(reader.take(reader.streams["pooled"], rows)[:, 0])
    logits = model.logit_scale.exp() * torch.nn.functional.normalize(images, dim=1) @ weights
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(codes)).item()
    right = (logits.argmax(1).numpy() == codes).mean()
    for name, expected in (("cross_entropy", loss), ("accuracy", right)):
        baselines = named["zero_shot", name].baselines
        assert set(baselines) == {"original", "with_error", "zeros", "mean", "pca"}
        assert baselines["original"].value == pytest.approx(expected, abs=1e-4)
        assert baselines["with_error"].value == pytest.approx(expected, abs=1e-3)
    losses = named["zero_shot", "cross_entropy"]
    assert losses.measured.value != pytest.approx(loss, abs=1e-3)
    assert losses.measured.value != named["downstream", "cross_entropy"].measured.value
    assert (losses.n, losses.of, losses.split) == (len(rows), "kind", "held_out")


def test_the_tower_runs_once_for_the_probe_and_the_names(clip, tmp_path, monkeypatch):
    found = evaluator(clip[1], "layer-00.cls", tmp_path, zero_shot="kind", downstream="kind")
    runs, real = [], found.shared.rerun.outputs
    monkeypatch.setattr(
        type(found.shared.rerun),
        "outputs",
        lambda self, rows, *a: runs.append(len(a[1])) or real(rows, *a),
    )
    found.run()
    assert sorted(runs) == [1, 6]  # the originals that the probe is fitted on, and all changes


def test_a_class_is_the_mean_of_its_published_sentences():
    said = zero_shot.sentences("red_fox")
    assert len(said) == 80
    assert said[0] == "a bad photo of a red fox."
    asked = []

    def texts(given):
        asked.extend(given)
        return torch.tensor([[1.0, 0.0] if "ant" in text else [0.6, 0.8] for text in given])

    found = zero_shot.class_vectors(texts, ["ant", *(f"bee {i}" for i in range(20))])
    assert len(asked) == 80 * 21
    assert found[0].tolist() == [1, 0]
    assert found[1:].numpy() == pytest.approx(np.tile([0.6, 0.8], (20, 1)))


def test_a_model_without_a_text_tower_is_refused_at_the_start(project):
    project["analysis"]["a"] = {"labels": {"kind": {"folder": True}}}
    project["evaluation"]["e"] = {"zero_shot": "kind"}
    project["vit"]["t"] |= {"model": "timm/vit_tiny_patch16_224", "layers": [0, 1]}
    with pytest.raises(UserError, match=r"evaluation\.e\.zero_shot: vit\.t: .*no text tower"):
        resolve(project)
