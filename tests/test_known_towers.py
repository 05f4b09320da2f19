"""What the plan knows of a tower before anything is recorded."""

import json
import os
import sys

import open_clip
import pytest
import torch
from project import config
from recording import TINY, write_config
from safetensors.torch import save_file

from saev.activations.towers import preview
from saev.core.errors import UserError
from saev.settings.vit import VitSettings
from saev.workflow import known_towers
from saev.workflow.known_towers import Facts, Towers
from saev.workflow.plan import resolve


def vit(model, weights="random", layers=(-1,), tokens=("patches",), **more):
    return VitSettings(model=str(model), weights=str(weights), layers=layers, tokens=tokens, **more)


def planned(tmp_path):
    """Settings that can be resolved although there is nothing but a tower."""
    raw = config()
    (tmp_path / "tower.json").write_text(json.dumps(TINY))
    raw["images"] = {"pets": {"folder": "pictures", "n_images": 90, "version": "1"}}
    for analysis in raw["analysis"].values():
        analysis.pop("labels", None)
    return raw


def asked(tmp_path, **towers):
    """The program's answers, of one run of it."""
    given = [known_towers._asked(settings) for settings in towers.values()]
    return dict(zip(towers, known_towers._run(given), strict=True))


@pytest.mark.slow
def test_mistakes_in_names_tags_and_files_are_found_without_loading_a_tower(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    save_file(open_clip.CLIP(**TINY).visual.state_dict(), "good.safetensors")
    save_file({"other": torch.zeros(2)}, "other.safetensors")
    (tmp_path / "page.pt").write_text("<html>")
    answers = asked(
        tmp_path,
        good=vit("tiny.json", "good.safetensors"),
        other=vit("tiny.json", "other.safetensors"),
        page=vit("tiny.json", "page.pt"),
        unknown=vit("ViT-B-61"),
        tag=vit("ViT-L-14", "opnai"),
        openai=vit("ViT-L-14", "openai"),
        like=vit("ViT-B-32", "other.safetensors"),
        timm=vit("timm/vit_tiny_patch16_224"),
        no_cls=vit("timm/test_vit2"),
        conv=vit("timm/test_resnet"),
        timm_tag=vit("timm/vit_small_patch14_dinov2", "lvd142"),
        pooled=vit("timm/test_vit", tokens=("patches", "pooled")),
    )
    for name, blocks, patches in (("good", 2, 4), ("openai", 24, 256), ("timm", 12, 196)):
        found = {"n_blocks": blocks, "has_class_token": True, "n_patches": patches}
        assert answers[name] == found
    assert answers["no_cls"]["has_class_token"] is False
    for name, part in {
        "other": "none of their 1 tensors has a name of this model",
        "page": "is a web page",
        "unknown": "did you mean ViT-B-16",
        "tag": "its tags: openai",
        "like": "Set `like`",
        "conv": "not a vision transformer",
        "timm_tag": "its tags: lvd142m",
    }.items():
        assert part in answers[name]["error"], name
    assert "error" not in answers["pooled"]


@pytest.fixture
def program(monkeypatch):
    """The program, replaced by answers. Counts how often it ran."""
    ran = []

    def run(given):
        ran.append(given)
        answers = {"timm/bad": {"error": "model: there is no 'timm/bad'"}}
        one = {"n_blocks": 12, "has_class_token": False}
        return [answers.get(g["model"], one) for g in given]

    monkeypatch.setattr(known_towers, "_run", run)
    return ran


def test_a_tower_is_checked_once_until_its_settings_change(tmp_path, program):
    towers = {"a": vit("timm/x"), "b": vit("timm/y"), "own": vit(write_config(tmp_path))}
    for _ in range(2):
        found = Towers(tmp_path / "towers.json").check(towers)
        assert found["a"] == Facts(12, False)
        assert found["own"] == Facts(2, True, 4)
    assert len(program) == 1
    assert len(program[0]) == 2
    Towers(tmp_path / "towers.json").check(towers | {"b": vit("timm/y", image_size=64)})
    assert len(program) == 2


def test_a_file_whose_sha256_is_stated_is_not_read(tmp_path, monkeypatch, program):
    monkeypatch.chdir(tmp_path)
    raw = planned(tmp_path)
    (tmp_path / "w.pt").write_text("<html>")
    raw["vit"]["tiny"] |= {"model": "timm/x", "weights": "w.pt", "weights_sha256": "0" * 64}
    raw["vit"]["tiny"]["tokens"] = ["patches"]
    raw["runs"] = [run for run in raw["runs"] if run["sae"] == "patches"]
    assert resolve(raw).runs
    assert [given["weights"] for given in program[0]] == ["random"]


def test_a_weights_file_that_changes_is_checked_again(tmp_path, program):
    path = tmp_path / "w.safetensors"
    for size in (1, 2):
        save_file({"a": torch.zeros(size)}, path)
        os.utime(path, (size, size))
        Towers(tmp_path / "towers.json").check({"a": vit("timm/x", path)})
    assert len(program) == 2


def test_mistakes_name_their_place_in_the_settings(tmp_path, program):
    for settings, message in (
        (vit("timm/bad"), r"^vit\.a\.model: there is no 'timm/bad'"),
        (vit("timm/x", layers=(12,)), r"^vit\.a\.layers: 12 is out of range: timm/x has 12 blocks"),
        (vit("timm/x", tokens=("cls",)), r"^vit\.a\.tokens: timm/x has no class token"),
    ):
        with pytest.raises(UserError, match=message):
            Towers(tmp_path / "towers.json").check({"a": settings})


def test_without_pytorch_nothing_is_known_and_nothing_refused(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    towers = {"a": vit("timm/bad", layers=(99,))}
    assert Towers(tmp_path / "towers.json").check(towers) == {"a": Facts(None, None)}
    assert not (tmp_path / "towers.json").exists()
    (said,) = caplog.messages
    assert said.startswith("towers can't be checked before they are recorded: ")
    assert "no-python" in said


def test_a_tower_that_cannot_be_built_without_numbers_is_named(tmp_path, monkeypatch, caplog):
    def tower(settings, device):
        if settings.model == "timm/dates":
            raise KeyError("a fault of saev")
        raise NotImplementedError("aten::odd isn't there for meta\nmore")

    monkeypatch.setattr(preview, "load_tower", tower)
    given = known_towers._asked(vit("timm/odd"))
    why = "NotImplementedError: aten::odd isn't there for meta"
    assert preview.preview(given) == {"unchecked": why}
    with pytest.raises(KeyError):
        preview.preview(given | {"model": "timm/dates"})
    monkeypatch.setattr(known_towers, "_run", lambda asked: [preview.preview(one) for one in asked])
    caplog.set_level("INFO")
    for _ in range(2):
        caplog.clear()
        found = Towers(tmp_path / "towers.json").check({"a": vit("timm/odd")})
        assert found == {"a": Facts()}
        said = f"vit.a: timm/odd can't be checked before it is recorded: {why}"
        assert caplog.messages == [said]


@pytest.mark.parametrize(
    ("layers", "layer", "fine"),
    [
        ([0, -1], 1, True),
        ([0, 1], -1, True),
        ([-2, -1], 0, True),
        ([-1], 0, False),
        ([1], -2, False),
        ([1], 3, False),
    ],
)
def test_a_block_is_the_same_counted_from_either_end(tmp_path, monkeypatch, layers, layer, fine):
    monkeypatch.chdir(tmp_path)
    raw = planned(tmp_path)
    raw["vit"]["tiny"]["layers"] = layers
    for sae in raw["sae"].values():
        sae["layer"] = layer
    raw["runs"] = [run for run in raw["runs"] if run["sae"] == "cls"]
    if fine:
        assert resolve(raw).runs
    else:
        with pytest.raises(UserError, match=f"trains on layer {layer}, but the recording keeps"):
            resolve(raw)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"weights": "openai"}, "vit.tiny.weights: 'openai' is neither a file"),
        ({"weights": "pictures"}, "vit.tiny.weights: 'pictures' is neither a file"),
        ({"image_size": 3}, "vit.tiny.image_size: 3 is smaller than a patch of tower.json"),
    ],
)
def test_tags_and_sizes_that_a_configuration_file_has_not_are_found_at_parse(
    settings, said, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    raw = planned(tmp_path)
    raw["vit"]["tiny"] |= settings
    with pytest.raises(UserError, match=said):
        resolve(raw, "results")


def test_a_layer_below_the_first_block_is_no_other_block(tmp_path, monkeypatch):
    """−3 of two blocks was taken for the last one, which is what is left of it modulo two."""
    monkeypatch.chdir(tmp_path)
    raw = planned(tmp_path)
    depth = TINY["vision_cfg"]["layers"]
    raw["vit"]["tiny"]["layers"] = list(range(depth))
    raw["sae"]["cls"]["layer"] = -depth - 1
    with pytest.raises(UserError, match=f"trains on layer -{depth + 1}, but the recording keeps"):
        resolve(raw, "results")


def test_a_tower_that_cannot_be_tried_leaves_the_others_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    save_file(open_clip.CLIP(**TINY).visual.state_dict(), "good.safetensors")
    answers = asked(
        tmp_path, small=vit("tiny.json", "good.safetensors", image_size=1), unknown=vit("ViT-B-61")
    )
    assert "there is no 'ViT-B-61'" in answers["unknown"]["error"]
    assert answers["small"].keys() == {"unchecked"}
    assert "size" in answers["small"]["unchecked"]


def test_a_size_that_cuts_patches_is_refused_with_the_sizes_that_fit(tmp_path):
    tower = write_config(tmp_path)
    said = preview.preview(json.loads(vit(tower, image_size=47).model_dump_json()))["error"]
    assert "image_size: 47 isn't a multiple of 16" in said
    assert said.endswith("15 pixels at two edges would never be seen: use 32 or 48")
    fits = preview.preview(json.loads(vit(tower, image_size=48).model_dump_json()))
    assert fits["n_patches"] == 9


def test_the_size_of_a_model_itself_may_cut_patches(tmp_path):
    own = TINY | {"vision_cfg": TINY["vision_cfg"] | {"image_size": 40}}
    (tmp_path / "own.json").write_text(json.dumps(own))
    given = json.loads(vit(tmp_path / "own.json", image_size=40).model_dump_json())
    assert preview.preview(given)["n_patches"] == 4
