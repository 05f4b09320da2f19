"""The text tower that belongs to a tower: the same vectors as open_clip's own model gives."""

import json

import open_clip
import pytest
import torch
import transformers
from recording import TINY, write_clip
from safetensors.torch import save_file

from saev.activations.towers.text_tower import encode_texts, load_text_tower
from saev.core.errors import UserError
from saev.settings.vit import VitSettings
from saev.workflow.known_towers import Towers

TEXTS = ["a cat", "two dogs", "a spider on its web"]
TEXT = {**TINY["text_cfg"], "vocab_size": 49408}


def settings(model, weights):
    return VitSettings(model=str(model), weights=str(weights), layers=(0,), tokens=("cls",))


def write(folder, **more):
    path = folder / "tiny.json"
    path.write_text(json.dumps({**TINY, "text_cfg": TEXT, **more}))
    return path


@pytest.mark.parametrize("custom", [False, True])
def test_a_text_has_the_vector_of_open_clips_own_model(tmp_path, custom):
    path = write(tmp_path, custom_text=custom, quick_gelu=True)
    theirs = write_clip(path, seed=1, noise=0.05, scale=0.5)
    ours = load_text_tower(settings(path, tmp_path / "weights.safetensors"))
    tokens = open_clip.get_tokenizer("tiny")(TEXTS)
    with torch.inference_mode():
        expected = theirs.encode_text(tokens, normalize=True).double()
    assert torch.allclose(ours(TEXTS), expected, atol=1e-6)
    assert ours(TEXTS).norm(dim=1).allclose(torch.ones(3, dtype=torch.float64))
    assert ours.logit_scale == pytest.approx(theirs.logit_scale.exp().item())


def test_a_vector_depends_on_its_own_text_alone(tmp_path):
    tower = load_text_tower(settings(write(tmp_path), "random"))
    many = tower([*TEXTS, *(f"word {i}" for i in range(70))])
    assert torch.equal(many[:3], tower(TEXTS))
    assert torch.equal(many[72], tower(["word 69"])[0])
    assert not torch.allclose(many[0], many[1])


def test_a_text_tower_saved_by_transformers_gives_what_transformers_computes(tmp_path):
    both = {"hidden_size": 16, "intermediate_size": 64, "num_attention_heads": 2}
    both |= {"num_hidden_layers": 1, "hidden_act": "quick_gelu"}
    config = transformers.CLIPConfig(
        text_config={**both, "vocab_size": 49408, "max_position_embeddings": 8},
        vision_config={**both, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    torch.manual_seed(1)
    theirs = transformers.CLIPModel(config).eval()
    theirs.save_pretrained(tmp_path / "saved")
    model = settings(write(tmp_path, quick_gelu=True), tmp_path / "saved/model.safetensors")
    tokens = open_clip.SimpleTokenizer(context_length=8)(TEXTS)
    with torch.inference_mode():
        hidden = theirs.text_model(tokens).last_hidden_state[torch.arange(3), tokens.argmax(1)]
        expected = theirs.text_projection(hidden)
    expected = torch.nn.functional.normalize(expected.double(), dim=1)
    assert torch.allclose(encode_texts(model, TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize("checked", [False, True])
def test_a_model_without_a_text_tower_is_refused(tmp_path, checked):
    path = write(tmp_path)
    open_clip.add_model_config(path)
    image = {
        f"visual.{k}": v for k, v in open_clip.create_model("tiny").visual.state_dict().items()
    }
    save_file(image, tmp_path / "image.safetensors")
    small = tmp_path / "small.json"
    small.write_text(json.dumps(TINY))
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps({k: v for k, v in TINY.items() if k != "text_cfg"}))
    for model, weights, said in (
        ("timm/vit_tiny_patch16_224", "random", "no text tower: timm's"),
        (path, tmp_path / "image.safetensors", "hold no text tower: use the file of the whole"),
        (bare, "random", "configuration has no text_cfg"),
        (small, "random", "knows 64 tokens, but open_clip's tokenizer has 49,408"),
    ):
        with torch.device("meta" if checked else "cpu"), pytest.raises(UserError, match=said):
            load_text_tower(settings(model, weights), "meta" if checked else "cpu")


def test_a_published_tower_is_tokenized_as_open_clip_does_it():
    with torch.device("meta"):
        tower = load_text_tower(settings("ViT-B-32", "random"), "meta")
    assert torch.equal(tower.tokenize(TEXTS), open_clip.get_tokenizer("ViT-B-32")(TEXTS))


def test_whether_a_tower_has_a_text_tower_is_known_at_the_start_and_remembered(tmp_path):
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps({k: v for k, v in TINY.items() if k != "text_cfg"}))
    towers = Towers(tmp_path / "towers.json")
    assert towers.no_text_tower(settings(write(tmp_path), "random")) == ""
    assert "configuration has no text_cfg" in towers.no_text_tower(settings(bare, "random"))
    again = Towers(tmp_path / "towers.json")
    assert again.known == towers.known
    assert len(again.known) == 2
