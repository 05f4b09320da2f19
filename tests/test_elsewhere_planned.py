"""What the workflow knows of dictionaries from elsewhere before anything runs."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from project import TOWER, python
from test_elsewhere import FOREIGN, path_of, project
from trained import run

from saev.core.errors import UserError
from saev.elsewhere.fetching import fetched
from saev.settings.config import parse
from saev.tools.check import check
from saev.workflow.digests import closure
from saev.workflow.hashes import Hashes
from saev.workflow.known_elsewhere import CONVERSION
from saev.workflow.plan import resolve

LENS = "sae-lens-topk"
WIDTH_8 = {**TOWER, "embed_dim": 8}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with two pictures, a tower of width 8, and a dictionary of another library."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "pictures").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"pictures/{name}.png")
    (tmp_path / "tower.json").write_text(json.dumps(WIDTH_8))
    shutil.copytree(FOREIGN / LENS, tmp_path / "theirs")
    return tmp_path


def raw(**entries) -> dict:
    """Settings with these entries of `sae`."""
    vit = {"model": "tower.json", "weights": "random", "tokens": ["pooled", "cls"], "layers": [0]}
    runs = [{"images": "a", "vit": "v", "sae": name, "analysis": "n"} for name in entries]
    images = {"a": {"folder": "pictures"}}
    return {
        "images": images,
        "vit": {"v": vit},
        "sae": entries,
        "analysis": {"n": {}},
        "runs": runs,
    }


def entry(checkpoint="theirs", **more) -> dict:
    return {"checkpoint": str(checkpoint), "tokens": "pooled", **more}


def directory(settings: dict) -> str:
    return resolve(settings).runs[0]["sae"]


def test_its_directory_depends_on_what_it_holds_and_not_on_where_it_lies(here):
    first = directory(raw(s=entry()))
    shutil.copytree("theirs", "copies/there")
    assert directory(raw(s=entry("copies/there"))) == first
    assert directory(raw(s=entry(here / "theirs/sae_weights.safetensors"))) == first
    weights = Path("theirs/sae_weights.safetensors")
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert directory(raw(s=entry())) != first


def test_its_job_has_the_digest_of_the_conversion_and_a_training_that_of_the_stage(here):
    trained = {"architecture": "topk", "tokens": "pooled", "n_latents": 8, "k": 2}
    trained |= {"batch_size": 1, "epochs": 1.0, "lr": 0.1}
    plan = resolve(raw(s=entry(), t=trained))
    codes = {d[0]: json.loads(spec)["code"] for d, spec in plan.data["specs"]["train"].items()}
    hashes = Hashes(Path("h.json"))
    assert codes["s"] == hashes.module(CONVERSION) != codes["t"]
    assert plan.component("sae", plan.runs[0]["sae"])["n_latents"] == 16


def test_the_planning_process_looks_at_every_format_without_pytorch():
    folders = [str(path_of(case.parent.name)) for case in FOREIGN.glob("*/expected.safetensors")]
    code = f"""
import sys
from pathlib import Path
from saev.elsewhere.libraries import look
from saev.elsewhere.common_form import Hints
for path in {folders!r}:
    hints = Hints("relu") if "overcomplete" in path else Hints()
    assert look(Path(path), hints).described.files
print("torch" in sys.modules)
"""
    assert python(code).strip() == "False"


def test_a_change_of_a_format_trains_nothing_again():
    trainings, conversions = closure("saev.train.__main__"), closure(CONVERSION)
    readers = {name for name in conversions if name.startswith("saev.elsewhere.")}
    assert {"saev.elsewhere.sae_lens", "saev.elsewhere.libraries"} <= readers
    assert not readers & set(trainings)
    assert CONVERSION not in trainings


def test_check_compares_a_converted_dictionary_with_the_code_of_the_conversion(tmp_path):
    settings, _ = project(tmp_path / "results/images", LENS)
    recording = tmp_path / "results/images/vit"
    run(settings, recording, recording / "theirs")
    found = [f.text for f in check(str(tmp_path / "results"), False)[0] if "code" in f.text]
    assert any(f"the stage train ({CONVERSION}) has changed" in text for text in found), found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checkpoint": "gone"}, r"sae.s.checkpoint: there is no file or folder gone"),
        ({"tokens": "cls", "layer": 0}, "width 8, but cls of tower.json have width 32: it is for"),
        ({"selects": "topk", "k": 3}, "says itself how it chooses latents: leave selects and k"),
        ({"checkpoint": "tower.json"}, "sae.s.checkpoint: tower.json has no known format"),
    ],
)
def test_a_dictionary_that_does_not_fit_is_refused_before_anything_runs(here, change, said):
    with pytest.raises(UserError, match=said):
        resolve(raw(s=entry() | change))


def test_the_width_of_a_recording_counts_where_there_is_one(here):
    plan = resolve(raw(s=entry()))
    names = plan.runs[0]
    recording = Path("results", names["images"], names["vit"])
    recording.mkdir(parents=True)
    streams = {"pooled": {"kind": "pooled", "d": 12}}
    (recording / "meta.json").write_text(json.dumps({"summary": {"streams": streams}}))
    with pytest.raises(UserError, match=r"width 8, but pooled of tower.json have width 12"):
        resolve(raw(s=entry()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"lr": 0.1},
            "s.lr: unknown key of an entry with checkpoint, which isn't trained; allowed",
        ),
        (
            {"checkpiont": "x"},
            "s.checkpiont: unknown key of an entry with checkpoint; did you mean",
        ),
        ({"selects": "topk"}, "selects: topk and k go together"),
        ({"checkpoint": "hf://me/mine"}, "write hf://owner/repo@revision or hf://owner/repo/path@"),
        ({"layer": 3}, "tokens: pooled takes no layer"),
        ({"held_out_by": "site"}, "held_out_by: site needs held-out images"),
        ({"checkpoint": 3}, r"s.checkpoint: 3: must be text"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, said):
    with pytest.raises(UserError, match=said):
        parse(raw(s=entry() | change))


def test_a_sweep_goes_over_several_dictionaries(here):
    shutil.copytree(FOREIGN / "sae-lens-gated", "gated")
    swept = {"tokens": "pooled", "sweep": {"checkpoint": ["theirs", "gated"]}}
    found = parse(raw(s=swept)).sae
    assert list(found) == ["s.checkpoint-theirs", "s.checkpoint-gated"]


def cached(folder: Path, monkeypatch, commit: str = "c" * 40) -> Path:
    """A cache of the hub, as a download of owner/repo at `main` would leave it."""
    cache = folder / "hub"
    repo = cache / "models--owner--repo"
    shutil.copytree(FOREIGN / LENS, repo / "snapshots" / commit / "blocks/11")
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return cache


def test_a_dictionary_on_the_hub_is_that_of_its_cache(here, monkeypatch):
    pytest.importorskip("huggingface_hub")
    cached(here, monkeypatch)
    from_hub = entry("hf://owner/repo/blocks/11@main")
    assert directory(raw(s=from_hub)) == directory(raw(s=entry()))
    assert fetched("hf://owner/repo/blocks/11@" + "c" * 40, cached=True).is_dir()
    with pytest.raises(UserError, match=r"sae.s.checkpoint: owner/repo has no file or folder 'b'"):
        resolve(raw(s=entry("hf://owner/repo/b@main")))
    with pytest.raises(UserError, match="isn't in the cache, and the hub can't be reached"):
        resolve(raw(s=entry("hf://owner/other@main")))


def test_a_hub_that_can_not_be_reached_is_one_line(here, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(here / "empty"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(UserError, match=r"sae.s.checkpoint: .*hf://owner/repo@main") as caught:
        resolve(raw(s=entry("hf://owner/repo@main")))
    assert "\n" not in str(caught.value)
