"""Dictionaries from elsewhere that can't be used: each refused in one line, with the reason."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from dictionaries import make
from safetensors.torch import load_file, save_file
from test_elsewhere import FOREIGN, POOLED, path_of, project
from trained import run

from saev import sae as saes
from saev.activations.towers.unpickled import read_tensors
from saev.core.errors import UserError
from saev.elsewhere.common_form import Hints
from saev.elsewhere.libraries import look
from saev.settings.elsewhere import ElsewhereSettings
from saev.train.conversion import converted


def changed(tmp_path: Path, case: str, **keys) -> Path:
    """A copy of a case with other values in its configuration. None takes a key away."""
    folder = tmp_path / case
    shutil.copytree(FOREIGN / case, folder)
    config = next(folder.glob("*.json"))
    given = json.loads(config.read_text())
    given = {k: v for k, v in {**given, **keys}.items() if v is not None}
    config.write_text(json.dumps(given))
    return folder


def weights(folder: Path, **tensors) -> Path:
    """Replace tensors in the weights of a copy. None takes one away."""
    path = next(p for p in folder.glob("*.safetensors") if p.name != "expected.safetensors")
    held = {k: v for k, v in {**load_file(path), **tensors}.items() if v is not None}
    save_file(held, path)
    return folder


def trainer(folder: Path, **keys) -> Path:
    """The same for `config.json` of dictionary_learning."""
    path = folder / "config.json"
    given = json.loads(path.read_text())
    path.write_text(json.dumps({"trainer": {**given["trainer"], **keys}}))
    return folder


LENS, SPARSE, PRISMA = "sae-lens-topk", "sparsify-topk", "vit-prisma-state-dict"
AT_SIGHT = {
    "a transcoder": (LENS, {"architecture": "transcoder"}, "architecture: 'transcoder' can't"),
    "a training": (LENS, {"architecture": "batchtopk"}, "save it with save_inference_model"),
    "layer norm": (LENS, {"normalize_activations": "layer_norm"}, "by its own standard deviation"),
    "rescaling": (LENS, {"normalize_activations": "constant_norm_rescale"}, "by its own norm"),
    "an unknown factor": (LENS, {"normalize_activations": "expected_average_only_in"}, "fold_acti"),
    "a mapping for a norm": (LENS, {"normalize_activations": {"a": 1}}, "supported: none"),
    "an old factor": (LENS, {"normalize_activations": True}, "fold_activation_norm_scaling_factor"),
    "whitening": (LENS, {"normalize_activations": "covariance_whitening"}, "whitened vectors"),
    "heads": (LENS, {"reshape_activations": "hook_z"}, "joins attention heads"),
    "an activation function": (LENS, {"activation_fn": "tanh-relu"}, "supported: relu, topk"),
    "no width": (LENS, {"d_in": None}, "d_in: None: must be a whole number above 0"),
    "another width": (LENS, {"d_in": 9}, r"W_enc has the shape \(8, 16\), not \(9, 16\)"),
    "another tensor": ("sae-lens-standard", {"architecture": "jumprelu"}, "no tensor 'threshold'"),
    "sparsify's transcoder": (SPARSE, {"transcode": True}, "predicts another layer"),
    "a skip connection": (SPARSE, {"skip_connection": True}, "adds a product of the input"),
    "ViT-Prisma's transcoder": (PRISMA, {"is_transcoder": True}, "'transcoder' can't be conv"),
    "an unknown class": (PRISMA, {"architecture": "jumprelu"}, "supported: standard, gated"),
    "ViT-Prisma's norm": (PRISMA, {"normalize_activations": "layer_norm"}, "standard deviation"),
    "its default": (PRISMA, {"normalize_activations": None}, "'layer_norm' can't be converted"),
    "an unrecorded place": (PRISMA, {"layer_subtype": "hook_mlp_out"}, "only the output of a bl"),
    "a gate and a rank": (
        PRISMA,
        {"architecture": "gated", "activation_fn_str": "topk"},
        "'topk' can't be converted; supported: relu$",
    ),
    "groups": (SPARSE, {"activation": "groupmax"}, "the largest of each group"),
}


@pytest.mark.parametrize("what", list(AT_SIGHT))
def test_what_can_not_be_converted_exactly_is_refused_before_weights_are_read(what, tmp_path):
    case, keys, said = AT_SIGHT[what]
    with pytest.raises(UserError, match=said):
        look(changed(tmp_path, case, **keys), Hints())


def test_other_classes_and_other_numbers_of_dictionary_learning_are_refused(tmp_path):
    folder = trainer(changed(tmp_path, "dictionary-learning-AutoEncoderTopK"), k=5)
    with pytest.raises(UserError, match=r"ae.pt: k: 4 can't be converted; supported: 5"):
        opened(folder, tmp_path)
    with pytest.raises(UserError, match="'IdentityDict' can't be converted; supported: AutoEnc"):
        look(trainer(folder, dict_class="IdentityDict"), Hints())


def opened(path: Path, tmp_path: Path, hints: Hints = Hints()):  # noqa: B008
    settings = ElsewhereSettings(checkpoint=str(path), tokens="pooled")
    return converted(look(path, hints), settings, {}, POOLED, tmp_path)


def test_weights_that_are_not_finite_or_too_large_are_refused(tmp_path):
    case = changed(tmp_path, LENS)
    with pytest.raises(UserError, match="b_dec has NaN or infinite values"):
        opened(weights(case, b_dec=torch.full((8,), torch.nan)), tmp_path)
    with pytest.raises(UserError, match="scaling_factor"):
        opened(weights(case, b_dec=torch.zeros(8), scaling_factor=torch.ones(16) * 2), tmp_path)
    held = {"b_dec": torch.full((8,), 1e300, dtype=torch.float64), "scaling_factor": None}
    with pytest.raises(UserError, match="b_dec has values too large for float32"):
        opened(weights(case, **held), tmp_path)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("/tmp/elsewhere-was-here"),))


def test_a_torch_file_that_holds_more_than_tensors_runs_nothing(tmp_path):
    folder = changed(tmp_path, "dictionary-learning-AutoEncoderTopK")
    held = torch.load(folder / "ae.pt", weights_only=True)
    torch.save({**held, "more": Evil()}, folder / "ae.pt")
    with pytest.raises(UserError, match="reading that could run code"):
        opened(folder, tmp_path)
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match="can't read the weights"):
        opened(tmp_path / "old.pt", tmp_path, Hints("relu"))
    assert not Path("/tmp/elsewhere-was-here").exists()


def test_of_the_objects_in_a_file_of_vit_prisma_nothing_is_run(tmp_path):
    path = path_of("vit-prisma-relu")
    with pytest.raises(
        UserError, match=r"it holds a vit_prisma.sae.config.VisionModelSAERunnerCon"
    ):
        read_tensors(path)
    shutil.copytree(path.parent, tmp_path / "theirs")
    held = {"cfg": Evil(), "state_dict": torch.load(path_of(PRISMA) / "weights.pt")}
    torch.save(held, tmp_path / "theirs" / path.name)
    with pytest.raises(
        UserError, match=r"it holds a builtins.getattr, and reading that could run code"
    ):
        opened(tmp_path / "theirs" / path.name, tmp_path)
    assert not Path("/tmp/elsewhere-was-here").exists()


def test_a_file_of_vit_prisma_is_named_where_several_may_lie(tmp_path):
    with pytest.raises(UserError, match=r"of which you can name another .pt beside config.json"):
        look(path_of("vit-prisma-relu").parent, Hints())
    (tmp_path / "it.pkl.gz").touch()
    with pytest.raises(UserError, match=r"it.pkl.gz is a pickle, and reading that could run code"):
        look(tmp_path / "it.pkl.gz", Hints())


def test_a_module_of_overcomplete_saved_whole_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    with pytest.raises(UserError, match=r"it holds a torch.nn.modules.linear.Linear"):
        opened(tmp_path / "whole.pt", tmp_path, Hints("relu"))


def test_a_state_dict_of_overcomplete_needs_what_it_does_not_say(tmp_path):
    topk, jump = path_of("overcomplete-topk"), path_of("overcomplete-jumprelu")
    with pytest.raises(UserError, match="add selects: relu, selects: jumprelu, or selects: topk"):
        look(topk, Hints())
    with pytest.raises(UserError, match="it has no thresholds"):
        opened(topk, tmp_path, Hints("jumprelu"))
    with pytest.raises(UserError, match="it has thresholds"):
        opened(jump, tmp_path, Hints("topk", 4))
    held = torch.load(topk, weights_only=True)
    torch.save({**held, "dictionary._weights": held["dictionary._weights"] * 2}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"norms from 2 to 2.*call .eval\(\) before you save"):
        opened(tmp_path / "a.pt", tmp_path, Hints("topk", 4))
    torch.save({**held, "encoder.mlp_blocks.0.0.weight": torch.ones(2)}, tmp_path / "b.pt")
    with pytest.raises(UserError, match="more than one layer"):
        opened(tmp_path / "b.pt", tmp_path, Hints("topk", 4))
    torch.save({"weight": torch.ones(2)}, tmp_path / "c.pt")
    with pytest.raises(UserError, match="isn't a state dict of overcomplete; it holds: weight"):
        opened(tmp_path / "c.pt", tmp_path, Hints("topk", 4))
    with pytest.raises(UserError, match="says itself how it chooses"):
        look(path_of(LENS), Hints("topk", 4))


def test_schemas_of_saev_that_mean_two_things_are_refused(tmp_path):
    text = path_of("saev-schema-2-topk").read_bytes()
    for schema, said in ((b"1", "code that subtracts b_dec"), (b"7", "supported: none, 2")):
        (tmp_path / "sae.pt").write_bytes(text.replace(b'"schema": 2', b'"schema": ' + schema))
        with pytest.raises(UserError, match=said):
            look(tmp_path / "sae.pt", Hints())


@pytest.mark.parametrize("how", ["gone", "empty", "damaged", "a folder", "another file"])
def test_what_is_no_dictionary_is_refused(how, tmp_path):
    path = tmp_path / "it"
    if how == "a folder":
        path.mkdir()
    elif how == "damaged":
        path = changed(tmp_path, LENS)
        (path / "cfg.json").write_text('{"d_in": ')
    elif how != "gone":
        path.write_bytes(b"" if how == "empty" else b"hello")
    said = {"gone": "there is no file or folder", "damaged": "isn't JSON"}
    with pytest.raises(UserError, match=said.get(how, "has no known format; allowed: a folder")):
        look(path, Hints(), "sae.theirs.checkpoint")


def test_weights_without_their_configuration_are_refused(tmp_path):
    folder = changed(tmp_path, "dictionary-learning-AutoEncoderTopK")
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"has ae.pt but no config.json: name a folder with both"):
        look(folder / "ae.pt", Hints())


def test_a_weights_file_that_is_cut_off_is_refused(tmp_path):
    folder = changed(tmp_path, LENS)
    path = folder / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:-40])
    for size in (-40, 40):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(UserError, match="cut off"):
            look(folder, Hints())
    saes.save(make("topk"), tmp_path / "c.safetensors", inputs={}, stream="pooled")
    (tmp_path / "c.safetensors").write_bytes((tmp_path / "c.safetensors").read_bytes()[:-40])
    with pytest.raises(UserError, match="cut off"):
        look(tmp_path / "c.safetensors", Hints())


@pytest.mark.parametrize("name", ["cfg.json", "sae_weights.safetensors"])
def test_json_that_is_nested_too_deeply_is_refused(name, tmp_path):
    folder = changed(tmp_path, LENS)
    text = b'{"a":' + b"[" * 100_000
    head = b"" if name == "cfg.json" else len(text).to_bytes(8, "little")
    (folder / name).write_bytes(head + text)
    with pytest.raises(UserError, match=f"{name} isn't JSON"):
        look(folder, Hints())


def test_another_width_or_stream_than_the_recording_is_refused(tmp_path):
    found, settings = (
        look(path_of(LENS), Hints()),
        ElsewhereSettings(checkpoint="c", tokens="pooled"),
    )
    with pytest.raises(UserError, match="takes vectors of width 8, but pooled has width 12"):
        converted(found, settings, {}, POOLED._replace(d=12), tmp_path)
    given, activations = project(tmp_path, LENS)
    run(given, activations, tmp_path / "vit/s")
    again = look(tmp_path / "vit/s", Hints())
    with pytest.raises(UserError, match=r"was trained on pooled, not on layer-01.cls"):
        converted(again, settings, {}, POOLED._replace(name="layer-01.cls"), tmp_path)
