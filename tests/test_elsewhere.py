"""Dictionaries of other libraries, which `tests/foreign/make.py` has made with their own code."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from analysed import Case, cycling
from analysed import vectors as activations_of
from dictionaries import SETTINGS, make, vectors
from evaluated import evaluated
from evaluated import figures as figures_of
from safetensors.torch import load_file
from synthetic import write_activations
from trained import run

from saev import sae as saes
from saev.activations.artifact import Activations, Stream
from saev.analyze.inputs import open_inputs
from saev.api.run import load
from saev.core.errors import UserError
from saev.elsewhere.common_form import Hints, at_least
from saev.elsewhere.libraries import FORMATS, look
from saev.settings.analysis import AnalysisSettings
from saev.settings.elsewhere import ElsewhereSettings
from saev.tools.ls import figures
from saev.train.conversion import converted

FOREIGN = Path(__file__).with_name("foreign")
CASES = sorted(path.parent.name for path in FOREIGN.glob("*/expected.safetensors"))
HINTS = {
    "overcomplete-topk": Hints("topk", 4),
    "overcomplete-archetypal": Hints("topk", 4),
    "overcomplete-relu": Hints("relu"),
    "overcomplete-jumprelu": Hints("jumprelu"),
}
POOLED = Stream("pooled", 8, 1, "pooled", None)
CLOSE = {"rtol": 2e-6, "atol": 2e-6}
"""A few roundings of float32, of values of about 1."""


def path_of(case: str) -> Path:
    """What the settings name: a folder, or the one file in it."""
    files = [p for p in (FOREIGN / case).iterdir() if p.name != "expected.safetensors"]
    named = [p for p in files if p.name.startswith("n_images_")] or files
    return named[0] if len(named) == 1 else FOREIGN / case


def opened(case: str, tmp_path: Path):
    found = look(path_of(case), HINTS.get(case, Hints()))
    settings = ElsewhereSettings(checkpoint=str(path_of(case)), tokens="pooled")
    return converted(found, settings, {}, POOLED, tmp_path)


@pytest.mark.parametrize("case", CASES)
def test_latents_and_reconstructions_are_those_of_the_library_that_made_it(case, tmp_path):
    known, sae = load_file(FOREIGN / case / "expected.safetensors"), opened(case, tmp_path)
    z = sae.encode(known["x"])
    assert torch.equal(z > 0, known["z"] > 0)
    torch.testing.assert_close(z, known["z"], **CLOSE)
    torch.testing.assert_close(sae.decode(known["z"]), known["y"], **CLOSE)
    torch.testing.assert_close(sae(known["x"]), known["y"], **CLOSE)
    # What an analysis uses.
    vector, latent, value = sae.active(known["x"])
    assert torch.equal(torch.zeros_like(z).index_put((vector, latent), value), z)


def test_a_threshold_that_is_to_be_reached_is_the_number_just_below_it():
    given = np.array([0.5, 1e-30, 3.7], np.float64)
    found, values = at_least(given), given.astype(np.float32)
    assert (values > found).all()
    assert not (np.nextafter(values, np.float32(-1)) > found).any()


def test_every_format_of_another_library_was_compared_with_it():
    compared = {look(path_of(case), HINTS.get(case, Hints())).format for case in CASES}
    assert compared == set(FORMATS) - {"saev-workflow"}


def project(tmp_path: Path, case: str, **entry) -> tuple[dict, Path]:
    """Activations of the width of the cases, and the arguments of a conversion."""
    values = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32) + 0.3
    activations = write_activations(tmp_path / "vit", {"pooled": values}, dtype="float32")
    hints = HINTS.get(case, Hints())
    chosen = {"selects": hints.selects, "k": hints.k} if hints.selects else {}
    return {"checkpoint": str(path_of(case)), "tokens": "pooled", **chosen, **entry}, activations


@pytest.mark.parametrize("case", ["sae-lens-topk", "saev-relu", "overcomplete-jumprelu"])
def test_the_train_stage_converts_it_and_a_program_opens_it(case, tmp_path):
    settings, activations = project(tmp_path, case)
    found = run(settings, activations, tmp_path / "vit/theirs")
    assert run(settings, activations, tmp_path / "vit/again") == {
        **found,
        "meta.json": found["meta.json"].replace(b"theirs", b"again"),
        "curves.png": (tmp_path / "vit/again/curves.png").read_bytes(),
    }
    known, sae = load_file(FOREIGN / case / "expected.safetensors"), load(tmp_path / "vit/theirs")
    torch.testing.assert_close(sae(known["x"]), known["y"], **CLOSE)
    assert (sae.stream, sae.architecture) == ("pooled", "converted")
    meta = json.loads(found["meta.json"])
    assert meta["settings"]["files"].keys() == {f.name for f in look_at(case).described.files}
    line = json.loads(found["train.jsonl"])
    assert line["eval_nmse"] > 0
    assert 0 < line["eval_l0"] < 16


def test_the_figures_are_those_of_a_plain_computation(tmp_path):
    settings, activations = project(tmp_path, "sae-lens-jumprelu")
    line = json.loads(run(settings, activations, tmp_path / "vit/s")["train.jsonl"])
    x = torch.from_numpy(np.load(next(activations.glob("pooled/*.npy")))).double()
    sae = load(tmp_path / "vit/s")
    z = sae.encode(x.float())
    error = (x - sae.decode(z).double()).square().sum() / (x - x.mean(0)).square().sum()
    assert line["eval_nmse"] == pytest.approx(float(error), rel=1e-5)
    assert line["eval_l0"] == pytest.approx(float((z > 0).sum(1).double().mean()))
    assert line["dead"] == int((z == 0).all(0).sum())


def test_its_own_checkpoint_is_a_dictionary_from_elsewhere_too(tmp_path):
    settings, activations = project(tmp_path, "sae-lens-topk")
    run(settings, activations, tmp_path / "vit/s")
    again = {"checkpoint": str(tmp_path / "vit/s"), "tokens": "pooled"}
    run(again, activations, tmp_path / "vit/t")
    first, second = load(tmp_path / "vit/s"), load(tmp_path / "vit/t")
    x = load_file(FOREIGN / "sae-lens-topk/expected.safetensors")["x"]
    assert torch.equal(first.encode(x), second.encode(x))
    assert second.settings.format == "saev-workflow"


def test_an_analysis_says_that_it_was_trained_on_none_of_the_images(tmp_path):
    settings, activations = project(tmp_path, "sae-lens-topk")
    rows = np.arange(200)

    def splits(**held_out):
        out = tmp_path / f"vit/s{len(held_out)}"
        run({**settings, **held_out}, activations, out)
        device = torch.device("cpu")
        return open_inputs(AnalysisSettings(), out, activations, None, device).splits(rows)

    assert {name: int(mask.sum()) for name, mask in splits().items()} == {"other": 200}
    held = splits(held_out=0.3, seed=4)["held_out"]
    assert np.array_equal(held, Activations(activations).held_out(rows, 0.3, 4))
    assert 0 < held.sum() < 200


@pytest.mark.parametrize("case", ["sae-lens-topk", "saev-relu"])
def test_it_is_evaluated_beside_the_same_baselines_as_one_trained_here(case, tmp_path):
    labels = {"kind": cycling(300, "a", "b", "c")}
    made = Case(tmp_path, activations_of(300, d=8), labels)
    made.sae = tmp_path / "vit/theirs"
    made.out = made.sae / "analysis"
    settings = {"checkpoint": str(path_of(case)), "layer": 1, "tokens": "cls"}
    run(settings, made.activations, made.sae)
    made.analyse()
    measured = figures_of(evaluated(made, tmp_path / "a", probing=("kind",), stability=True))
    assert measured["stability.mean"].note.startswith("a dictionary from elsewhere doesn't say")
    found = measured["probing.auroc_5"]
    assert set(found.baselines) == {"untrained_dictionary", "raw_dimensions", "pca", "constant"}
    assert 0 < found.baselines["untrained_dictionary"].value < 1


def test_the_list_of_results_shows_its_error_as_that_of_images_it_never_saw(tmp_path):
    settings, activations = project(tmp_path, "sae-lens-topk")
    run(settings, activations, tmp_path / "vit/s")
    found = figures(json.loads((tmp_path / "vit/s/meta.json").read_text()))
    assert found["nmse_train"] is None
    assert found["nmse_held_out"] > 0
    assert found["n_latents"] == 16


@pytest.mark.parametrize("name", list(SETTINGS))
def test_every_architecture_of_this_project_is_converted_with_its_latents(name, tmp_path):
    sae = make(name).eval()
    saes.save(sae, tmp_path / "c.safetensors", inputs={}, stream="pooled")
    settings = ElsewhereSettings(checkpoint="c", tokens="pooled")
    found = look(tmp_path / "c.safetensors", Hints())
    again = converted(found, settings, {}, POOLED._replace(d=sae.d), tmp_path)
    x = vectors()
    torch.testing.assert_close(again.encode(x), sae.encode(x), **CLOSE)
    torch.testing.assert_close(again(x), sae(x), rtol=1e-5, atol=1e-5)


def test_negative_latents_are_refused_where_the_other_library_keeps_them(tmp_path):
    settings, activations = project(tmp_path, "saev-schema-2-topk")
    found = (tmp_path / "w").mkdir() or bytearray(path_of("saev-schema-2-topk").read_bytes())
    found[:] = found.replace(b'"top_k": 4', b'"top_k": 9')
    (tmp_path / "w/sae.pt").write_bytes(found)
    run(settings, activations, tmp_path / "vit/s")
    with pytest.raises(UserError, match="fewer than 9 latents are positive"):
        run({**settings, "checkpoint": str(tmp_path / "w/sae.pt")}, activations, tmp_path / "vit/t")
    assert not any((tmp_path / "vit/t").iterdir())


def look_at(case: str):
    return look(path_of(case), HINTS.get(case, Hints()))
