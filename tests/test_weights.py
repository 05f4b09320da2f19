"""Weights files: every form gives the right activations, or a reason."""

import argparse
import collections
import datetime
import json
import pathlib
import pickle

import numpy as np
import open_clip
import pytest
import timm
import torch
import transformers
from recording import TINY, write_config
from safetensors.torch import save_file

from saev.activations.towers import open_clip as by_open_clip
from saev.activations.towers.tower import load_tower, normalise
from saev.activations.towers.unpickled import header_problem
from saev.core.errors import UserError
from saev.core.files import sha256_bytes, sha256_file
from saev.settings.vit import VitSettings


def tower(model, weights="random", layers=(0,), tokens=("patches", "pooled"), **more):
    return load_tower(
        VitSettings(model=str(model), weights=str(weights), layers=layers, tokens=tokens, **more)
    )


def checked(model, weights="random", **more):
    """The tower without its weights, as it is checked when the workflow is parsed."""
    with torch.device("meta"):
        settings = VitSettings(
            model=model, weights=str(weights), **{"layers": (0,), "tokens": ("patches",), **more}
        )
        return load_tower(settings, "meta")


def pixels(side=32, n=2):
    return torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    )


@pytest.fixture
def clip(tmp_path):
    """open_clip's own whole model of the tiny configuration."""
    write_config(tmp_path)
    open_clip.add_model_config(tmp_path / "tiny.json")
    torch.manual_seed(1)
    return open_clip.create_model("tiny").eval()


def assert_same(ours, clip):
    with torch.inference_mode():
        expected = clip.visual(normalise(pixels(), ours.geometry))
    assert torch.equal(ours(pixels())["pooled"], expected)


def training(clip):
    """Checkpoints as training scripts write them."""
    state = clip.state_dict()
    other = {k: torch.zeros_like(v) for k, v in state.items()}
    optimizer = torch.optim.AdamW(clip.parameters(), lr=0.5 * (1 + np.cos(0.3)) * 1e-3)
    settings = argparse.Namespace(lr=1, out=pathlib.Path("x"), steps=np.arange(3))
    return {
        "numpy.pt": {
            "epoch": np.int64(3),
            "state_dict": state,
            "optimizer": optimizer.state_dict(),
        },
        "model_best.pth.tar": {"epoch": 3, "state_dict": state, "args": settings},
        "last.ckpt": {
            "state_dict": {f"model.{k}": v for k, v in state.items()} | {"loss.w": torch.ones(1)},
            "callbacks": collections.defaultdict(list, a=[1]),
            "when": datetime.datetime(2026, 1, 1),
        },
        "compiled.pt": {f"_orig_mod.{k}": v for k, v in state.items()},
        "inside.pt": {k.replace("visual.", "visual._orig_mod."): v for k, v in state.items()},
        "nested.pt": {"model": {f"module._orig_mod.model.{k}": v for k, v in state.items()}},
        "encoder.pt": {f"encoder.{k}": v for k, v in clip.visual.state_dict().items()},
        "averaged.pt": {"state_dict": other, "state_dict_ema": state},
        "teacher.pth": {"student": other, "teacher": state, "args": settings},
    }


FORMS = [
    *("numpy.pt", "model_best.pth.tar", "last.ckpt", "compiled.pt", "inside.pt", "nested.pt"),
    *("encoder.pt", "averaged.pt", "teacher.pth"),
]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_of_a_training_gives_its_tower(tmp_path, clip, form, legacy):
    path = tmp_path / form
    torch.save(training(clip)[form], path, _use_new_zipfile_serialization=not legacy)
    assert_same(tower(tmp_path / "tiny.json", path), clip)


def test_of_two_towers_in_a_file_none_is_guessed(tmp_path, clip):
    torch.save({"a": clip.state_dict(), "b": clip.state_dict()}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"several towers, under a\.visual, b\.visual"):
        tower(tmp_path / "tiny.json", tmp_path / "w.pt")


class Own:
    """A type of the user's."""


def test_an_unknown_object_is_named_and_never_made(tmp_path, clip, monkeypatch):
    torch.save({"state_dict": clip.state_dict(), "config": Own()}, tmp_path / "w.pt")
    monkeypatch.setattr(Own, "__new__", lambda cls: pytest.fail("made"))
    with pytest.raises(UserError, match=r"holds a \S*Own, and reading that could run code"):
        tower(tmp_path / "tiny.json", tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"not weights at all", "is neither a safetensors nor a PyTorch file"),
        (b"PK\x03\x04" + b"x" * 100, "is cut off"),
        ((10**6).to_bytes(8, "little") + b'{"a": 1}', "is cut off"),
        ((8).to_bytes(8, "little") + b'{"a": 1}', "has a damaged header"),
    ],
)
def test_a_file_that_holds_no_weights_is_known_by_its_first_bytes(tmp_path, content, problem):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    assert header_problem(path).startswith(problem)
    with pytest.raises(UserError, match="can't read the weights") as caught:
        tower(write_config(tmp_path), path)
    assert "\x1b" not in str(caught.value)


def test_a_plain_pickle_is_refused_with_what_could_not_be_read(tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(pickle.dumps({"weight": [1.0]}, protocol=4))
    with pytest.raises(UserError, match=r"can't read the weights.*Unsupported operand 149"):
        tower(write_config(tmp_path), path)


# names of transformers ------------------------------------------------------------------------


def split(value, names, out):
    for name, part in zip(names, value.chunk(3), strict=True):
        out[name] = part


def renamed(name, pairs):
    """The name with each part replaced, in turn."""
    for mine, theirs in pairs:
        name = name.replace(mine, theirs)
    return name


def as_transformers_clip(clip):
    """A CLIP tower under the names of transformers, made from open_clip's by hand."""
    out = {"visual_projection.weight": clip.visual.proj.T, "logit_scale": clip.logit_scale}
    root = "vision_model."
    for name, value in clip.visual.state_dict().items():
        if name == "proj":
            continue
        block = name.removeprefix("transformer.resblocks.")
        if "in_proj_" in name:
            number, kind = block.split(".")[0], name.rpartition("_")[2]
            at = f"{root}encoder.layers.{number}.self_attn."
            split(value, [f"{at}{part}_proj.{kind}" for part in "qkv"], out)
            continue
        pairs = (
            ("transformer.resblocks.", "encoder.layers."),
            ("attn.out_proj", "self_attn.out_proj"),
            ("mlp.c_fc", "mlp.fc1"),
            ("mlp.c_proj", "mlp.fc2"),
            ("ln_1", "layer_norm1"),
            ("ln_2", "layer_norm2"),
            ("ln_pre", "pre_layrnorm"),
            ("ln_post", "post_layernorm"),
            ("conv1.", "embeddings.patch_embedding."),
            ("class_embedding", "embeddings.class_embedding"),
            ("positional_embedding", "embeddings.position_embedding.weight"),
        )
        out[root + renamed(name, pairs)] = value
    out[root + "embeddings.position_ids"] = torch.arange(5)[None]
    return out


@pytest.mark.parametrize("prefix", ["", "model."])
def test_transformers_names_of_clip_give_the_same_tower(tmp_path, clip, prefix):
    state = {prefix + k: v.contiguous() for k, v in as_transformers_clip(clip).items()}
    save_file(state, tmp_path / "model.safetensors")
    assert_same(tower(tmp_path / "tiny.json", tmp_path / "model.safetensors"), clip)


def as_transformers_dino(state):
    """A DINOv2 tower under the names of transformers, made from timm's by hand."""
    out = {"embeddings.mask_token": torch.zeros(1, 384)}
    for name, value in state.items():
        if ".attn.qkv." in name:
            at, kind = name.replace("blocks.", "encoder.layer.").split(".attn.qkv.")
            names = [f"{at}.attention.attention.{n}.{kind}" for n in ("query", "key", "value")]
            split(value, names, out)
            continue
        pairs = (
            ("blocks.", "encoder.layer."),
            ("attn.proj", "attention.output.dense"),
            ("ls1.gamma", "layer_scale1.lambda1"),
            ("ls2.gamma", "layer_scale2.lambda1"),
            ("cls_token", "embeddings.cls_token"),
            ("pos_embed", "embeddings.position_embeddings"),
            ("patch_embed.proj.", "embeddings.patch_embeddings.projection."),
        )
        name = renamed(name, pairs)
        out["layernorm" + name.removeprefix("norm") if name.startswith("norm.") else name] = value
    return out


@pytest.mark.slow
def test_transformers_names_of_dinov2_give_the_same_tower(tmp_path):
    torch.manual_seed(2)
    theirs = timm.create_model("vit_small_patch14_dinov2", img_size=28, num_classes=0).eval()
    state = {k: v.contiguous() for k, v in as_transformers_dino(theirs.state_dict()).items()}
    save_file(state, tmp_path / "w.safetensors")
    ours = tower(
        "timm/vit_small_patch14_dinov2", tmp_path / "w.safetensors", tokens=("pooled",), layers=(),
        image_size=28,
    )  # fmt: skip
    with torch.inference_mode():
        expected = theirs(normalise(pixels(28), ours.geometry))
    assert torch.equal(ours(pixels(28))["pooled"], expected)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["clip", "siglip", "dinov2", "registers", "vit"])
def test_a_tower_saved_by_transformers_gives_what_transformers_computes(tmp_path, family):
    small = {"image_size": 32, "patch_size": 16}
    base = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3}
    made, config, model, n_prefix = {
        "clip": (
            "CLIPVisionModelWithProjection",
            "CLIPVisionConfig",
            tmp_path / "tiny.json",
            1,
        ),
        "siglip": (
            "SiglipVisionModel",
            "SiglipVisionConfig",
            "timm/vit_base_patch16_siglip_224",
            0,
        ),
        "dinov2": ("Dinov2Model", "Dinov2Config", "timm/vit_small_patch14_dinov2", 1),
        "registers": (
            "Dinov2WithRegistersModel",
            "Dinov2WithRegistersConfig",
            "timm/vit_small_patch14_reg4_dinov2",
            5,
        ),
        "vit": ("ViTModel", "ViTConfig", "timm/vit_tiny_patch16_224", 1),
    }[family]
    given = {
        "clip": small | {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2}
        | {"num_attention_heads": 2, "projection_dim": 16, "hidden_act": "gelu"},
        "siglip": small | {"hidden_size": 768, "intermediate_size": 3072, "hidden_act": "gelu"}
        | {"num_hidden_layers": 12, "num_attention_heads": 12},
        "vit": small | base | {"intermediate_size": 768, "layer_norm_eps": 1e-6},
    }.get(family, base | {"image_size": 28, "patch_size": 14, "hidden_size": 384}
          | {"num_attention_heads": 6})  # fmt: skip
    write_config(tmp_path)
    torch.manual_seed(3)
    theirs = getattr(transformers, made)(getattr(transformers, config)(**given)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += torch.randn_like(parameter) * 0.05
    theirs.save_pretrained(tmp_path / "saved")
    side = given["image_size"]
    more = {} if family == "clip" else {"image_size": side}
    ours = tower(model, tmp_path / "saved/model.safetensors", layers=(0, 1), **more)
    inputs = normalise(pixels(side), ours.geometry)
    with torch.inference_mode():
        seen = theirs(inputs, output_hidden_states=True).hidden_states
    for layer in (0, 1):
        found = ours(pixels(side))[f"layer-0{layer}.patches"]
        assert torch.allclose(found, seen[layer + 1][:, n_prefix:], rtol=1e-4, atol=1e-4)


def test_names_that_cannot_be_translated_are_said_to_be_transformers(tmp_path):
    names = {"embeddings.patch_embeddings.weight": torch.zeros(2, 3, 16, 16)}
    save_file(names, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="names of transformers' DINOv3"):
        checked("timm/vit_small_patch16_dinov3", tmp_path / "w.safetensors", like="lvd1689m")


# what a tag decides ---------------------------------------------------------------------------


def visual_file(path, prefix=""):
    """A file with the shapes of a published tower; its numbers are zeros."""
    with torch.device("meta"):
        module = open_clip.CLIP(**open_clip.get_model_config("ViT-B-16")).visual
    shapes = {prefix + name: value.shape for name, value in module.state_dict().items()}
    save_file({name: torch.zeros(shape).half() for name, shape in shapes.items()}, path)
    return path


@pytest.mark.parametrize("prefix", ["", "visual.", "model.visual."])
def test_a_clip_of_open_clip_fits_the_model_of_timm(tmp_path, prefix):
    path = visual_file(tmp_path / "w.safetensors", prefix)
    ours = checked("timm/vit_base_patch16_clip_224", path, like="laion2b")
    assert ours.backbone.weights_sha256 == sha256_file(path)


def test_a_published_tower_is_known_whatever_file_it_lies_in(tmp_path, monkeypatch):
    path = visual_file(tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"differ in quick_gelu .*openai.*Set `like`"):
        checked("ViT-B-16", path)
    digest = sha256_bytes(torch.zeros(768, 3, 16, 16).half().numpy().tobytes())
    monkeypatch.setitem(by_open_clip.KNOWN_PATCHES, digest, ("ViT-B-16", "openai"))
    found = checked("ViT-B-16", path).backbone.module.transformer.resblocks[0].mlp.gelu
    assert type(found).__name__ == "QuickGELU"
    with pytest.raises(UserError, match=r"like: laion2b_s34b_b88k is wrong.*openai"):
        checked("ViT-B-16", path, like="laion2b_s34b_b88k")
    config = open_clip.get_model_config("ViT-B-16")
    (tmp_path / "mine.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"has quick_gelu False, but .* need quick_gelu True"):
        checked(str(tmp_path / "mine.json"), path)


def test_a_file_of_a_timm_model_whose_tags_differ_must_say_which_it_is_like(tmp_path):
    model = "timm/vit_base_patch16_224"
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"differ in mean and std .*dino.*Set `like`"):
        checked(model, tmp_path / "w.pt")
    imagenet = (0.485, 0.456, 0.406)
    assert checked(f"{model}.dino").geometry.mean == imagenet
    with pytest.raises(UserError, match="names the tag dino, not mae"):
        checked(f"{model}.dino", tmp_path / "w.pt", like="mae")
    with pytest.raises(UserError, match=r"has no tag 'dinoo'.*did you mean 'dino'"):
        checked(f"{model}.dinoo")


def test_a_timm_file_takes_the_preprocessing_of_the_tag_it_is_like(tmp_path):
    torch.manual_seed(4)
    theirs = timm.create_model("vit_base_patch16_224.dino", num_classes=0, img_size=32)
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    for model, more in (
        ("timm/vit_base_patch16_224", {"like": "dino"}),
        ("timm/vit_base_patch16_224.dino", {}),
    ):
        ours = checked(model, tmp_path / "w.safetensors", image_size=32, **more)
        assert ours.geometry.mean == (0.485, 0.456, 0.406)


def test_a_timm_model_with_gelu_is_refused_for_weights_that_need_quickgelu():
    with pytest.raises(UserError, match="use timm/vit_base_patch16_clip_quickgelu_224"):
        checked("timm/vit_base_patch16_clip_224", "openai")
    assert checked("timm/vit_base_patch16_clip_quickgelu_224", "openai").geometry.grid == (14, 14)


# hubs -----------------------------------------------------------------------------------------

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put_on_hub(cache, repository, files):
    """Lay files into the cache of the hub, as if they had been downloaded."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text(COMMIT)
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for name, write in files.items():
        write(snapshot / name)
    return snapshot


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of a hub that doesn't answer."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_the_weights_of_a_timm_tag_are_hashed_and_their_commit_recorded(hub):
    torch.manual_seed(5)
    theirs = timm.create_model("test_vit").eval()
    files = {"model.safetensors": lambda path: save_file(theirs.state_dict(), path)}
    snapshot = put_on_hub(hub, "timm/test_vit.r160_in1k", files)
    ours = tower("timm/test_vit", "r160_in1k", image_size=160)
    assert ours.backbone.weights_sha256 == sha256_file(snapshot / "model.safetensors")
    assert ours.backbone.commit == COMMIT
    theirs.reset_classifier(0)
    with torch.inference_mode():
        expected = theirs(normalise(pixels(160), ours.geometry))
    assert torch.equal(ours(pixels(160))["pooled"], expected)


def test_a_timm_tag_never_falls_back_to_random_weights(hub, monkeypatch):
    torch.manual_seed(5)
    state = timm.create_model("test_vit").state_dict()
    del state["blocks.0.norm1.weight"]
    put_on_hub(hub, "timm/test_vit.r160_in1k", {"model.safetensors": lambda p: save_file(state, p)})
    with pytest.raises(UserError, match=r"1 tensors are missing, such as blocks\.0\.norm1"):
        tower("timm/test_vit", "r160_in1k")

    def fails(*_, **__):
        raise TypeError("unexpected keyword")

    monkeypatch.setattr(timm, "create_model", fails)
    for more in ({}, {"image_size": 64}):
        with pytest.raises(UserError, match="timm can't build timm/test_vit: unexpected keyword"):
            tower("timm/test_vit", "r160_in1k", **more)


def test_the_commit_of_a_repository_on_the_hub_is_recorded(hub, clip):
    config = {"model_cfg": TINY, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    files = {
        "open_clip_config.json": lambda path: path.write_text(json.dumps(config)),
        "open_clip_model.safetensors": lambda path: save_file(
            {k: v.contiguous() for k, v in clip.state_dict().items()}, path
        ),
    }
    put_on_hub(hub, "me/tiny", files)
    for model in ("hf-hub:me/tiny", f"hf-hub:me/tiny@{COMMIT}"):
        ours = load_tower(VitSettings(model=model, layers=(0,), tokens=("pooled", "cls")))
        assert ours.backbone.commit == COMMIT
        assert_same(ours, clip)


# shapes of towers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "grid", "patch"),
    [
        ("timm/vit_tiny_r_s16_p8_224", (7, 7), 32),
        ("timm/vit_small_resnet26d_224", (7, 7), 32),
        ("timm/vit_base_mci_224", (14, 14), 16),
        ("timm/vit_so400m_patch14_siglip_384", (27, 27), 14),
        ("timm/vit_pe_spatial_tiny_patch16_512", (32, 32), 16),
        ("ViTamin-S", (14, 14), 16),
    ],
)
def test_a_tower_with_a_stem_has_the_grid_of_its_blocks(model, grid, patch):
    geometry = checked(model).geometry
    assert (geometry.grid, geometry.patch_size) == (grid, patch)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("timm/cait_xxs24_224", "Cait, which can't be recorded: its class token"),
        ("timm/swin_tiny_patch4_window7_224", "SwinTransformer, .* merges patches"),
        ("timm/pit_ti_224", "PoolingVisionTransformer, .* merges patches"),
        ("timm/samvit_base_patch16", "windows of the image"),
        ("timm/naflexvit_base_patch16_gap", "its grid of patches depends on the image"),
    ],
)
def test_transformers_that_cannot_be_recorded_say_why(model, reason):
    with pytest.raises(UserError, match=reason):
        checked(model)


def test_an_image_size_that_the_tower_cannot_see_is_one_line():
    with pytest.raises(UserError, match=r"65 × 65 pixels.*Set image_size"):
        checked("timm/test_vit", image_size=65)


def test_a_file_of_a_tag_is_downloaded_once_and_compared_with_the_digits_in_its_name(
    tmp_path, monkeypatch
):
    from saev.activations.towers.timm import _from_url

    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "cache"))
    held = tmp_path / "held"
    held.write_bytes(b"weights")
    digits = sha256_file(held)[:8]
    good, bad = tmp_path / f"vit-{digits}.pth", tmp_path / "vit-00000000.pth"
    for path in (good, bad):
        path.write_bytes(b"weights")
    found = _from_url(good.as_uri())
    assert found.read_bytes() == b"weights"
    good.unlink()
    assert _from_url(good.as_uri()) == found
    with pytest.raises(RuntimeError, match="invalid hash value"):
        _from_url(bad.as_uri())
    assert not (tmp_path / "cache" / "checkpoints" / bad.name).exists()


def compressed(state):
    return {
        "integers": {k: (v * 10).to(torch.int8) for k, v in state.items()},
        "quantised": {
            k: v if v.ndim < 2 else torch.quantize_per_tensor(v, 0.01, 0, torch.qint8)
            for k, v in state.items()
        },
        "sparse": {k: v.to_sparse() if v.ndim == 2 else v for k, v in state.items()},
    }


@pytest.mark.parametrize("form", ["integers", "quantised", "sparse"])
def test_compressed_weights_are_refused(tmp_path, clip, form):
    torch.save(compressed(clip.state_dict())[form], tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"tensors of .*tiny\.json are quantised or sparse"):
        tower(tmp_path / "tiny.json", tmp_path / "w.pt")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_when_they_are_loaded(tmp_path, clip, number):
    state = clip.state_dict()
    state["visual.conv1.weight"][0, 0, 0, 0] = number
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"w\.safetensors hold NaN .* in 1 tensors, such as conv1"):
        tower(tmp_path / "tiny.json", tmp_path / "w.safetensors")


def test_parameters_that_were_saved_with_their_gradient_mark_are_read(tmp_path, clip):
    torch.save(dict(clip.named_parameters()), tmp_path / "w.pt")
    assert_same(tower(tmp_path / "tiny.json", tmp_path / "w.pt"), clip)


SMALL = {"like": "augreg_in21k_ft_in1k", "image_size": 64}


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        ({"patch_size": 8}, "their patches have 8 × 8 pixels, those of the model 16 × 16"),
        ({"patch_size": 32}, "their patches have 32 × 32 pixels"),
        ({"reg_tokens": 4}, "not the model's, such as reg_token"),
        ({"class_token": False, "global_pool": "avg"}, "class token and registers"),
    ],
)
def test_weights_of_another_patch_size_or_other_tokens_are_refused(tmp_path, other, problem):
    made = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=64, **other)
    torch.save(made.state_dict(), tmp_path / "w.pt")
    with pytest.raises(UserError, match=problem):
        tower("timm/vit_tiny_patch16_224", tmp_path / "w.pt", **SMALL)


def test_resampled_positions_are_said(tmp_path, clip, caplog):
    caplog.set_level("INFO", "saev")
    made = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=96)
    torch.save(made.state_dict(), tmp_path / "w.pt")
    tower("timm/vit_tiny_patch16_224", tmp_path / "w.pt", **SMALL)
    state = clip.state_dict()
    name = "visual.positional_embedding"
    larger = torch.cat([state[name][:1], state[name][1:].repeat(4, 1)])
    torch.save(state | {name: larger}, tmp_path / "v.pt")
    tower(tmp_path / "tiny.json", tmp_path / "v.pt")
    assert "w.pt has 37 positions, the tower has 17, so they were resampled" in caplog.text
    has = f"v.pt has {len(larger)} positions, the tower has {len(state[name])}"
    assert has in caplog.text


def test_averaged_weights_that_are_not_used_are_said(tmp_path, clip, caplog):
    caplog.set_level("INFO", "saev")
    state = clip.state_dict()
    averaged = {k.replace(".", ""): v for k, v in state.items()}
    torch.save({"model": state, "model_ema": averaged}, tmp_path / "w.pt")
    assert_same(tower(tmp_path / "tiny.json", tmp_path / "w.pt"), clip)
    assert "The file has averaged ones too, such as model_ema." in caplog.text


@pytest.mark.parametrize(
    ("name", "rename", "problem"),
    [
        ("model-00001-of-00002.pt", {}, "one of several pieces"),
        ("w.pt", {"c_fc.weight": "c_fc.lora_A"}, r"an adapter \(LoRA\): merge it"),
        ("w.pt", {"c_fc.weight": "c_fc.parametrizations.weight.original"}, "parametrised"),
    ],
)
def test_what_weights_are_that_do_not_fit_is_said(tmp_path, clip, name, rename, problem):
    state = clip.state_dict()
    for old, new in rename.items():
        state = {k.replace(old, new): v for k, v in state.items()}
    if not rename:
        state = {k: v for k, v in state.items() if "resblocks.1" not in k}
    torch.save(state, tmp_path / name)
    with pytest.raises(UserError, match=problem):
        tower(tmp_path / "tiny.json", tmp_path / name)
