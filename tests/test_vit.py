"""Towers: where they come from, and that a stream holds what its name says."""

import json

import numpy as np
import open_clip
import pytest
import torch
from open_clip import get_model_config, get_pretrained_cfg
from recording import TINY, write_config
from safetensors.torch import save_file
from torch import nn

from saev.activations.towers.open_clip import of_tags as said_by_tags
from saev.activations.towers.tower import load_tower, normalise, resolve_layers
from saev.core.errors import UserError
from saev.core.files import sha256_file
from saev.settings.component import digest
from saev.settings.vit import VitSettings

ALL = ("cls", "patches", "pooled")


def tower(model, weights="random", layers=(0, -1), tokens=ALL, **more):
    return load_tower(
        VitSettings(model=model, weights=weights, layers=layers, tokens=tokens, **more)
    )


def pixels(side, n=8):
    return torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    )


def hooked(module, blocks, inputs):
    """Outputs of blocks as forward hooks see them, and the tower's own output."""
    seen = []
    hooks = [b.register_forward_hook(lambda m, i, o: seen.append(o.clone())) for b in blocks]
    with torch.inference_mode():
        output = module(inputs)
    for hook in hooks:
        hook.remove()
    return seen, output


@pytest.fixture
def clip(tmp_path):
    """open_clip's own whole model of the tiny configuration."""
    write_config(tmp_path)
    open_clip.add_model_config(tmp_path / "tiny.json")
    torch.manual_seed(1)
    return open_clip.create_model("tiny")


def test_streams_equal_what_hooks_see_in_open_clip(tmp_path, clip):
    save_file(clip.visual.state_dict(), tmp_path / "visual.safetensors")
    ours = tower(str(tmp_path / "tiny.json"), str(tmp_path / "visual.safetensors"))
    outputs = ours(pixels(32))
    inputs = normalise(pixels(32), ours.geometry)
    seen, pooled = hooked(clip.visual.eval(), clip.visual.transformer.resblocks, inputs)
    for layer in (0, 1):
        assert torch.equal(outputs[f"layer-0{layer}.cls"], seen[layer][:, 0])
        assert torch.equal(outputs[f"layer-0{layer}.patches"], seen[layer][:, 1:])
    assert torch.equal(outputs["pooled"], pooled)
    assert [(s.name, s.d, s.n_patches) for s in ours.streams] == [
        ("layer-00.cls", 32, 1),
        ("layer-00.patches", 32, 4),
        ("layer-01.cls", 32, 1),
        ("layer-01.patches", 32, 4),
        ("pooled", 16, 1),
    ]


def test_patches_are_in_rows_of_the_grid(tmp_path):
    write_config(tmp_path)
    ours = tower(str(tmp_path / "tiny.json"), tokens=("patches",), layers=(0,))
    blank = torch.zeros(8, 32, 32, 3, dtype=torch.uint8)
    changed = blank.clone()
    changed[:, 0:16, 16:32] = 255  # row 0, column 1
    tokens = ours.backbone.module.conv1(normalise(blank, ours.geometry)).flatten(2)
    others = ours.backbone.module.conv1(normalise(changed, ours.geometry)).flatten(2)
    assert (tokens != others).any(1)[0].tolist() == [False, True, False, False]
    assert ours.geometry.grid == (2, 2)
    moved = (ours(blank)["layer-00.patches"] - ours(changed)["layer-00.patches"]).norm(dim=-1)[0]
    assert int(moved.argmax()) == 1


@pytest.mark.parametrize("form", ["visual", "whole", "wrapped.pt", "module.pt", "half"])
def test_every_form_of_weights_file_gives_the_same_tower(tmp_path, clip, form):
    visual, whole = clip.visual.state_dict(), clip.state_dict()
    path = tmp_path / "w.safetensors"
    if form == "visual":
        save_file(visual, path)
    elif form == "whole":
        save_file({k: v.contiguous() for k, v in whole.items()}, path)
    elif form == "half":
        visual = {k: v.half() for k, v in visual.items()}
        clip.visual.load_state_dict(visual)
        save_file(visual, path)
    else:
        path = tmp_path / form
        prefix = "module." if form == "module.pt" else ""
        state = {prefix + k: v for k, v in whole.items()}
        torch.save({"state_dict": state} if form == "wrapped.pt" else state, path)
    ours = tower(str(tmp_path / "tiny.json"), str(path), tokens=("pooled",), layers=())
    inputs = normalise(pixels(32), ours.geometry)
    with torch.inference_mode():
        assert torch.equal(ours(pixels(32))["pooled"], clip.visual.eval()(inputs))
    assert ours.backbone.weights_sha256 == sha256_file(path)


def test_another_image_size_resamples_positions_as_open_clip_does(tmp_path, clip):
    path = tmp_path / "open_clip_model.safetensors"
    save_file({k: v.contiguous() for k, v in clip.state_dict().items()}, path)
    theirs = open_clip.create_model("tiny", pretrained=str(path), force_image_size=64)
    ours = tower(str(tmp_path / "tiny.json"), str(path), image_size=64)
    inputs = normalise(pixels(64), ours.geometry)
    with torch.inference_mode():
        assert torch.equal(ours(pixels(64))["pooled"], theirs.visual.eval()(inputs))
    assert ours.geometry.grid == (4, 4)
    assert ours.streams[1].n_patches == 16


@pytest.mark.parametrize(
    ("model", "prefix"), [("timm/test_vit", 1), ("timm/vit_tiny_patch16_224", 1)]
)
def test_streams_equal_what_hooks_see_in_timm(model, prefix):
    ours = tower(model, image_size=64)
    assert ours.geometry.image_size == 64
    inputs = normalise(pixels(64), ours.geometry)
    blocks = ours.backbone.module.blocks
    seen, pooled = hooked(ours.backbone.module, [blocks[0], blocks[-1]], inputs)
    outputs = ours(pixels(64))
    last = f"layer-{len(blocks) - 1:02}"
    for name, tokens in (("layer-00", seen[0]), (last, seen[1])):
        assert torch.equal(outputs[f"{name}.cls"], tokens[:, 0])
        assert torch.equal(outputs[f"{name}.patches"], tokens[:, prefix:])
    assert torch.equal(outputs["pooled"], pooled)


@pytest.mark.parametrize("model", ["open_clip", "timm/test_vit", "timm/eva02_tiny_patch14_224"])
def test_bfloat16_rounds_products_but_not_what_blocks_add_to(tmp_path, model):
    if model == "open_clip":
        model = write_config(tmp_path)
    tokens = ("cls", "patches", "pooled")
    exact, rounded = (
        tower(model, layers=(0, -1), tokens=tokens, precision=precision)
        for precision in ("float32", "bfloat16")
    )
    side = exact.geometry.image_size
    right, close = exact(pixels(side)), rounded(pixels(side))
    assert right.keys() == close.keys()
    for name, values in right.items():
        assert close[name].dtype == torch.float32
        off = float((close[name] - values).norm() / values.norm())
        assert 1e-4 < off < 2e-2, (name, off)
        if name != "pooled":
            assert not torch.equal(close[name], close[name].bfloat16().float())
    assert "in bfloat16" in rounded.describe()


def test_tf32_is_float32_without_a_gpu(tmp_path):
    exact, rounded = (
        tower(write_config(tmp_path), precision=precision)(pixels(32))["pooled"]
        for precision in ("float32", "tf32")
    )
    assert torch.equal(exact, rounded)
    said = tower(write_config(tmp_path), precision="tf32").describe()
    assert "on cpu in float32, as a CPU has no tf32" in said


def test_precision_names_another_recording_unless_it_is_float32():
    same = {"model": "ViT-B-16", "weights": "openai", "layers": (0,), "tokens": ("cls",)}
    digests = [
        digest(VitSettings(**same, **more).essential())
        for more in ({}, *({"precision": name} for name in ("float32", "tf32", "bfloat16")))
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_registers_are_no_patches():
    ours = tower("timm/vit_small_patch14_reg4_dinov2", image_size=28, layers=(0,))
    assert [s.n_patches for s in ours.streams] == [1, 4, 1]
    inputs = normalise(pixels(28), ours.geometry)
    seen, _ = hooked(ours.backbone.module, [ours.backbone.module.blocks[0]], inputs)
    assert seen[0].shape[1] == 1 + 4 + 4
    assert torch.equal(ours(pixels(28))["layer-00.patches"], seen[0][:, 5:])
    assert torch.equal(ours(pixels(28))["layer-00.cls"], seen[0][:, 0])


def test_a_timm_file_loads_with_its_classifier_left_out(tmp_path):
    import timm

    torch.manual_seed(3)
    theirs = timm.create_model("test_vit", img_size=64).eval()
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    ours = tower("timm/test_vit", str(tmp_path / "w.safetensors"), image_size=64)
    inputs = normalise(pixels(64), ours.geometry)
    seen, _ = hooked(theirs, [theirs.blocks[0]], inputs)
    assert torch.equal(ours(pixels(64))["layer-00.patches"], seen[0][:, 1:])
    larger = tower("timm/test_vit", str(tmp_path / "w.safetensors"), image_size=96)
    assert larger.geometry.grid == (6, 6)


@pytest.mark.parametrize(
    "name", ["eva02_tiny_patch14_224", "deit_tiny_distilled_patch16_224", "test_vit"]
)
def test_a_timm_file_gives_what_timm_computes(tmp_path, name):
    import timm

    torch.manual_seed(4)
    theirs = timm.create_model(name, img_size=112).eval()
    save_file(
        {k: v.contiguous() for k, v in theirs.state_dict().items()}, tmp_path / "w.safetensors"
    )
    ours = tower(f"timm/{name}", str(tmp_path / "w.safetensors"), image_size=112, layers=(1,))
    seen, _ = hooked(theirs, [theirs.blocks[1]], normalise(pixels(112), ours.geometry))
    assert torch.equal(ours(pixels(112))["layer-01.cls"], seen[0][:, 0])


def test_a_timm_trunk_inside_of_open_clip_gives_its_streams(tmp_path):
    config = {
        "embed_dim": 16,
        "vision_cfg": {
            "timm_model_name": "test_vit",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": 160,
        },
        "text_cfg": TINY["text_cfg"],
    }
    (tmp_path / "trunk.json").write_text(json.dumps(config))
    ours = tower(str(tmp_path / "trunk.json"), layers=(1,), image_size=64)
    inputs = normalise(pixels(64), ours.geometry)
    seen, pooled = hooked(ours.backbone.module, [ours.backbone.module.trunk.blocks[1]], inputs)
    outputs = ours(pixels(64))
    assert torch.equal(outputs["layer-01.cls"], seen[0][:, 0])
    assert torch.equal(outputs["layer-01.patches"], seen[0][:, 1:])
    assert torch.equal(outputs["pooled"], pooled)


def test_the_forward_stops_at_the_deepest_layer_unless_pooled_is_wanted(tmp_path):
    path = write_config(tmp_path)
    for tokens, runs in ((("cls",), 0), (("cls", "pooled"), 1)):
        ours = tower(path, layers=(0,), tokens=tokens)
        calls = []
        last = ours.backbone.module.transformer.resblocks[1]
        last.register_forward_hook(lambda m, i, o, calls=calls: calls.append(1))
        ours(pixels(32))
        assert len(calls) == runs


def test_random_weights_are_a_function_of_their_seed_alone(tmp_path):
    path = write_config(tmp_path)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = tower(path)(pixels(32))["pooled"]
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    assert torch.equal(first, tower(path)(pixels(32))["pooled"])
    assert not torch.equal(first, tower(path, weights_seed=1)(pixels(32))["pooled"])


def test_layers_are_resolved_sorted_and_checked():
    assert resolve_layers((-1, 3, 11), 12, "m") == (3, 11)
    for bad in (12, -13):
        with pytest.raises(UserError, match=r"m has 12 blocks, 0 to 11 \(or -12 to -1\)"):
            resolve_layers((bad,), 12, "m")


@pytest.mark.parametrize(
    ("model", "name"),
    [("timm/test_resnet", "ResNet"), ("timm/test_convnext", "ConvNeXt")],
)
def test_towers_of_another_kind_are_refused_by_name(model, name):
    with pytest.raises(UserError, match=rf"{model} is a {name}, not a vision transformer"):
        tower(model)


def test_an_open_clip_resnet_is_refused_by_name(tmp_path):
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}
    (tmp_path / "rn.json").write_text(json.dumps(TINY | {"vision_cfg": vision}))
    with pytest.raises(UserError, match="is a ModifiedResNet"):
        tower(str(tmp_path / "rn.json"))


def test_cls_is_refused_where_there_is_no_class_token():
    model = "timm/test_vit2"  # it has a register, which must not pass for one
    with pytest.raises(UserError, match="no class token"):
        tower(model, tokens=("cls",), image_size=64)


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("ViT-B-61", "openai", "did you mean ViT-B-16"),
        ("timm/test_vitt", "random", "did you mean timm/test_vit"),
        ("timm/test_vit", "openai", "its tags: r160_in1k"),
        ("ViT-B-32", "opnai", r"its tags: openai"),
        ("absent.json", "random", "absent.json is missing"),
        ("ViT-B-32", "absent.safetensors", "there is no file absent.safetensors"),
    ],
)
def test_unknown_names_tags_and_files_say_what_is_allowed(model, weights, message):
    with pytest.raises(UserError, match=message):
        tower(model, weights)


@pytest.mark.parametrize(
    ("model", "meant"),
    [
        ("vit-b-16", "ViT-B-16"),
        ("vit_base_patch16_clip_224", "timm/vit_base_patch16_clip_224"),
        ("timm/Vit_Tiny_patch16_224", "timm/vit_tiny_patch16_224"),
    ],
)
def test_a_name_in_other_letters_or_without_its_library_is_recognised(model, meant):
    with pytest.raises(UserError, match=rf"did you mean {meant}( or|\?)"):
        tower(model)


def test_a_hub_that_does_not_answer_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="can't get hf-hub:nobody/nothing from the hub") as caught:
        tower("hf-hub:nobody/nothing", None)
    assert "\n" not in str(caught.value)


def test_wrong_weights_are_refused_with_what_differs(tmp_path, clip):
    path, model = tmp_path / "w.safetensors", str(tmp_path / "tiny.json")
    state = clip.visual.state_dict()
    state["proj"] = torch.zeros(32, 8)
    del state["ln_post.bias"]
    save_file(state | {"extra": torch.zeros(1)}, path)
    with pytest.raises(UserError) as caught:
        tower(model, str(path))
    for part in ("1 tensors are missing, such as ln_post.bias", "extra", "(32, 8), not (32, 16)"):
        assert part in str(caught.value)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="can't read the weights"):
        tower(model, str(path))


def test_weights_that_hold_code_are_not_run(tmp_path):
    class Planted:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"a": Planted()}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="run code"):
        tower(write_config(tmp_path), str(tmp_path / "w.pt"))
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "script.pt")
    with pytest.raises(UserError, match="TorchScript"):
        tower(write_config(tmp_path), str(tmp_path / "script.pt"))
    assert not (tmp_path / "ran").exists()


def test_the_sha256_that_is_stated_is_checked(tmp_path, clip):
    save_file(clip.visual.state_dict(), tmp_path / "w.safetensors")
    model, path = str(tmp_path / "tiny.json"), str(tmp_path / "w.safetensors")
    tower(model, path, weights_sha256=sha256_file(path))
    with pytest.raises(UserError, match=f"not {'0' * 64} as weights_sha256 says"):
        tower(model, path, weights_sha256="0" * 64)
    with pytest.raises(UserError, match="weights is random"):
        tower(model, "random", weights_sha256="0" * 64)


def of_tags(model, weights, like=None, sha256=None):
    given = {"model": model, "weights": weights, "like": like, "weights_sha256": sha256}
    by_name = bool(get_model_config(model).get("quick_gelu"))
    return said_by_tags(VitSettings(**given, layers=(0,), tokens=("patches",)), by_name)


def test_a_weights_file_takes_the_normalisation_that_all_tags_of_its_model_agree_on():
    preprocess, quick_gelu = of_tags("ViT-B-16-SigLIP", "my.pt")
    assert tuple(preprocess["mean"]) == (0.5, 0.5, 0.5)
    assert quick_gelu is False


def test_a_weights_file_whose_models_tags_differ_must_say_which_it_is_like():
    with pytest.raises(UserError, match=r"tags of ViT-L-14 differ in mean .*laion2b[\s\S]*`like`"):
        of_tags("ViT-L-14", "my.pt")
    preprocess, quick_gelu = of_tags("ViT-L-14", "my.pt", like="openai")
    assert quick_gelu is True
    assert preprocess["mean"][0] == pytest.approx(0.48145466)
    assert of_tags("ViT-L-14", "my.pt", like="laion2b_s32b_b82k")[0]["mean"] == (0.5, 0.5, 0.5)
    with pytest.raises(UserError, match="'openia' isn't a tag of ViT-L-14"):
        of_tags("ViT-L-14", "my.pt", like="openia")


@pytest.mark.parametrize("model", ["ViT-B-16", "ViT-B-32", "ViT-L-14", "ViT-bigG-14", "ViT-H-14"])
def test_a_weights_file_is_refused_where_tags_differ_in_the_activation_function_alone(model):
    with pytest.raises(UserError, match=r"quick_gelu True: .*Set `like`"):
        of_tags(model, "my.pt")
    assert of_tags(model, "random")[1] is False


@pytest.mark.parametrize("model", ["ViT-B-16-quickgelu", "ViT-L-14-quickgelu"])
def test_a_weights_file_takes_the_activation_function_that_all_tags_agree_on(model):
    assert of_tags(model, "my.pt")[1] is True


def test_a_published_file_is_known_by_its_sha256():
    url = get_pretrained_cfg("ViT-B-16", "openai")["url"]
    (known,) = (part for part in url.split("/") if len(part) == 64)
    assert of_tags("ViT-B-16", "my.pt", sha256=known)[1] is True
    with pytest.raises(UserError, match="`like`"):
        of_tags("ViT-B-16", "my.pt", sha256="0" * 64)


def test_a_tag_says_which_activation_function_it_was_trained_with(monkeypatch):
    seen = {}

    def build(embed_dim, vision, text, quick_gelu):
        seen["quick_gelu"] = quick_gelu
        raise RuntimeError("enough")

    monkeypatch.setattr(open_clip, "CLIP", build)
    for model, weights, expected in [
        ("ViT-L-14", "openai", True),
        ("ViT-B-16", "openai", True),
        ("ViT-B-16", "laion2b_s34b_b88k", False),
        ("ViT-B-16", "random", False),
        ("ViT-B-16-quickgelu", "random", True),
    ]:
        with pytest.raises(UserError, match="enough"):
            tower(model, weights)
        assert seen.pop("quick_gelu") is expected, (model, weights)


@pytest.mark.parametrize("model", ["ViT-B-32", "timm/test_vit"])
def test_a_file_whose_end_does_not_tell_that_it_holds_weights_is_refused(
    tmp_path, monkeypatch, model
):
    # It would not be hashed when the workflow is parsed, so other weights in it would go unnoticed.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tower.npz").write_bytes(b"")
    with pytest.raises(UserError, match=r"'tower.npz' is neither a file \(\.safetensors, "):
        tower(model, "tower.npz")
