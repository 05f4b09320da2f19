"""Scores of names: on held-out images, the text tower ranks the true name among five."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from analysed import TOPK, write_sae
from PIL import Image
from project import TOWER
from recording import TINY, list_images, record, settings, write_pictures

from saev.activations.towers.again import recorded_settings
from saev.activations.towers.text_tower import encode_texts
from saev.activations.towers.tower import load_tower
from saev.analyze.artifact import n_parts
from saev.analyze.inputs import open_inputs
from saev.analyze.merge import write_merged
from saev.analyze.names_file import digest_of, distinct, read_names
from saev.analyze.parts import write_part
from saev.core.errors import UserError
from saev.evaluate import named, score_names
from saev.evaluate.crops import centred, cropped, embed
from saev.evaluate.tower_outputs import Rerun
from saev.settings.analysis import AnalysisResolved, AnalysisSettings
from saev.workflow.plan import resolve

N = 120
NAMES = ["sun", "moon", "star", "sea", "sand", "snow", "rare thing"]


def test_a_name_is_right_only_if_it_is_nearer_than_all_four_others():
    texts = torch.eye(6, dtype=torch.float64)
    images = torch.tensor([[0.9, 0.1, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1.0]])
    asked = np.array([[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [5, 0, 1, 2, 3]])
    assert named.is_first(images.double(), texts, asked).tolist() == [True, False, True]


def test_the_other_four_names_are_drawn_evenly_and_never_the_true_one():
    drawn = np.stack([named.candidates(list("abcdefg"), 3, 5, row, 0) for row in range(3000)])
    assert (drawn[:, 0] == 3).all()
    assert all(len(set(one)) == 5 for one in drawn.tolist())
    assert np.bincount(drawn[:, 1:].ravel(), minlength=7) / 3000 == pytest.approx(
        [2 / 3, 2 / 3, 2 / 3, 0, 2 / 3, 2 / 3, 2 / 3], abs=0.05
    )
    assert (drawn[7] == named.candidates(list("abcdefg"), 3, 5, 7, 0)).all()


def test_a_score_has_its_wilson_interval_and_too_few_images_give_none():
    right = np.array([True] * 12 + [False] * 4)
    found = named.score(right)
    assert (found["hits"], found["n"]) == (12, 16)
    assert found["interval"] == pytest.approx([0.505, 0.898], abs=0.001)
    assert named.score(right[:4]) == {"n": 4, "hits": None, "interval": None}


def test_centring_takes_away_what_all_vectors_share():
    apart = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 2.0, 0], [0, -2.0, 0]])
    assert torch.allclose(
        centred(apart + 100), torch.nn.functional.normalize(apart.double(), dim=1)
    )


@pytest.mark.parametrize(("patch", "left", "top"), [(27, 14, 10), (0, 0, 0), (63, 36, 36)])
def test_a_crop_is_the_square_around_its_patch(patch, left, top):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    side = 25.6  # 0.4 of 64; three patches are 24
    row, column = divmod(patch, 8)
    edges = [min(max(0, 8 * at + 4 - side / 2), 64 - side) for at in (column, row)]
    box = (*edges, edges[0] + side, edges[1] + side)
    expected = Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC, box=box)
    assert (cropped(pixels, (8, 8), patch) == np.asarray(expected)).all()
    assert (cropped(pixels, (8, 8), -1) == pixels).all()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Images, and what a tiny tower with a text tower gives for them."""
    folder = tmp_path_factory.mktemp("scored")
    write_pictures(folder / "pictures", N)
    listed = list_images(folder / "pictures", folder / "results/pets")
    given = settings(folder)
    (folder / "tiny.json").write_text(
        json.dumps({**TINY, "text_cfg": {**TINY["text_cfg"], "vocab_size": 49408}})
    )
    return record(listed, listed / "vit", given, range(1))


def analysed(reader, stream, n=N):
    """A dictionary of ``stream``, half of whose images are held out, and its analysis."""
    shape = {**TOPK, "k": 8, "held_out": 0.5}
    sae = write_sae(reader.path / stream, reader.path, stream, shape)
    analysis = AnalysisSettings(top_images=4)
    inputs = open_inputs(analysis, sae, reader.path, None, torch.device("cpu"))
    out = sae / "analysis"
    (out / "scratch").mkdir(parents=True)
    write_part(inputs, analysis, 0, out, out / "scratch")
    write_merged(inputs, analysis, AnalysisResolved(), n_parts(n), out, out)
    return inputs, sae, out


def write_names(path, sae, latents):
    dictionary = "/".join(sae.parts[-3:])
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["dictionary", "latent", "name"])
        table.writerows(
            [dictionary, latent, name] for latent, name in zip(latents, NAMES, strict=True)
        )
    return digest_of(distinct(read_names("names", path), dictionary))


def run(path, sha256, sae, out, threads=1):
    spec = {"settings": {"names": str(path), "sha256": sha256}}
    score_names.main(
        [
            *("--spec", json.dumps(spec), "--analysis", str(out), "--sae", str(sae)),
            *("--activations", str(sae.parent), "--out", str(out / "dashboard")),
            *("--threads", str(threads)),
        ]
    )
    return (out / "dashboard/names.json").read_bytes()


@pytest.mark.parametrize("stream", ["layer-01.cls", "layer-01.patches"])
def test_names_are_scored_on_held_out_images_that_nobody_was_shown(recorded, tmp_path, stream):
    inputs, sae, out = analysed(recorded, stream)
    rows = recorded.rows(0, N)
    # By hand: what every latent gives on every vector.
    vectors = torch.from_numpy(recorded.float32(recorded.take(inputs.stream, rows)))
    with torch.inference_mode():
        dense = inputs.sae.encode(vectors.reshape(-1, inputs.stream.d)).reshape(N, -1, 24).numpy()
    strongest, patch = dense.max(1), dense.argmax(1)
    held_out = recorded.held_out(rows, 0.5, TOPK["seed"])
    top = np.argsort(-strongest, axis=0, kind="stable")[:4].T
    counts = [int(((strongest[:, j] > 0) & held_out).sum()) for j in range(24)]
    latents = np.argsort(counts, kind="stable")[::-1][:6].tolist()
    latents.append(int(np.flatnonzero(np.array(counts) == 0)[0]))  # fires on none of them
    sha256 = write_names(tmp_path / "names.csv", sae, latents)
    written = run(tmp_path / "names.csv", sha256, sae, out)
    found = json.loads(written)
    assert (found["candidates"], found["chance"], found["n_names"]) == (5, 0.2, 7)

    judged = {}
    for latent in latents:
        fires = (strongest[:, latent] > 0) & held_out
        fires[top[latent]] = False
        at = np.flatnonzero(fires)
        if len(at) > 16:
            rng = np.random.default_rng([0, 1, latent])
            at = np.sort(rng.choice(at, 16, replace=False, shuffle=False))
        judged[latent] = at
    wanted = sorted(latents)
    row = np.concatenate([judged[latent] for latent in wanted])
    at = np.concatenate([patch[judged[latent], latent] for latent in wanted])
    at = at if stream.endswith("patches") else 0 * at - 1
    rerun = Rerun(recorded, recorded.path.parent, torch.device("cpu"), 2)
    tower = load_tower(recorded_settings(recorded.meta, recorded.path))
    of_images = []
    for pixels, place in zip(
        (next(rerun.pixels(np.array([r]))) for r in row), at.tolist(), strict=True
    ):
        crop = torch.tensor(cropped(pixels, tower.geometry.grid, place))[None]
        of_images.append(torch.nn.functional.normalize(tower(crop)["pooled"], dim=1))
    of_images = torch.cat(of_images)
    assert embed(rerun, row, at).numpy() == pytest.approx(of_images.numpy(), abs=1e-5)
    of_images = centred(of_images)
    texts = sorted(NAMES)
    of_texts = centred(encode_texts(recorded_settings(recorded.meta, recorded.path), texts))
    owner = np.repeat(wanted, [len(judged[latent]) for latent in wanted])
    scores = {one["latent"]: one for one in found["scores"]}
    for latent, name in zip(latents, NAMES, strict=True):
        cosines = (of_images[owner == latent] @ of_texts.T).numpy()
        hits = 0
        for one, r in zip(cosines, judged[latent].tolist(), strict=True):
            true, *others = named.candidates(texts, texts.index(name), latent, r, 0)
            hits += one[true] > max(one[other] for other in others)
        expected = hits if len(judged[latent]) >= 5 else None
        assert (scores[latent]["hits"], scores[latent]["n"]) == (expected, len(judged[latent]))
    assert scores[latents[-1]]["hits"] is None
    assert found["n_scored"] == sum(len(one) >= 5 for one in judged.values()) >= 3
    assert run(tmp_path / "names.csv", sha256, sae, out, threads=3) == written
    (tmp_path / "names.csv").write_text("dictionary,latent,name\n")
    with pytest.raises(UserError, match="was changed since the workflow started"):
        run(tmp_path / "names.csv", sha256, sae, out)


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """Plans a run whose names are to be scored, with a tower that knows so many tokens."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"pictures/{name}.png")
    vit = {"model": "tower.json", "weights": "random", "tokens": ["pooled"]}
    sae = {"architecture": "topk", "tokens": "pooled", "n_latents": 8, "k": 2}
    sae |= {"batch_size": 1, "epochs": 1.0, "lr": 0.1}
    analysis = {"names": "names.csv", "score_names": True}
    raw = {
        "images": {"a": {"folder": "pictures"}},
        "vit": {"v": vit},
        "sae": {"s": sae},
        "analysis": {"n": analysis},
        "runs": [{"images": "a", "vit": "v", "sae": "s", "analysis": "n"}],
    }

    def plan(n_names, n_tokens=49408):
        text = {**TOWER["text_cfg"], "vocab_size": n_tokens}
        Path("tower.json").write_text(json.dumps({**TOWER, "text_cfg": text}))
        Path("names.csv").write_text("dictionary,latent,name\n")
        run = resolve(raw).runs[0]
        dictionary = "/".join(run[kind] for kind in ("images", "vit", "sae"))
        rows = [f"{dictionary},{i},{name}\n" for i, name in enumerate(NAMES[:n_names])]
        Path("names.csv").write_text("".join(["dictionary,latent,name\n", *rows]))
        return resolve(raw), f"{dictionary}/{run['analysis']}"

    return plan


def test_names_are_scored_where_there_are_five_and_a_text_tower(planned, caplog):
    caplog.set_level("INFO")
    plan, folder = planned(5)
    assert list(plan.data["specs"]["names"]) == [folder]
    first = json.loads(plan.data["specs"]["names"][folder])
    assert first["settings"]["names"].endswith("names.csv")
    more, folder = planned(6)
    assert json.loads(more.data["specs"]["names"][folder])["settings"] != first["settings"]
    few, _ = planned(4)
    assert few.data["specs"]["names"] == {}
    assert "has 4 different names; 5 are needed to score them" in caplog.text
    with pytest.raises(UserError, match=r"can't be scored: vit\.v: the text tower of tower\.json"):
        planned(5, n_tokens=64)


def test_scores_need_names(planned):
    with pytest.raises(UserError, match="score_names needs names"):
        resolve({"analysis": {"n": {"score_names": True}}})
