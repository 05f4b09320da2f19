"""What the text tower says of latents: how well names fit them, and which words it suggests."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from analysed import TOPK, write_sae
from evaluated import OFF
from PIL import Image
from project import TOWER
from recording import TINY, list_images, record, settings, write_pictures

from saev.activations.towers.again import recorded_settings
from saev.activations.towers.preview import preview
from saev.activations.towers.text_tower import encode_texts
from saev.activations.towers.tower import load_tower
from saev.analyze.artifact import n_parts
from saev.analyze.inputs import open_inputs
from saev.analyze.merge import write_merged
from saev.analyze.names_file import digest_of, distinct, read_names
from saev.analyze.parts import write_part
from saev.core.errors import UserError
from saev.evaluate import named, score_names, vocabulary
from saev.evaluate.crops import centred, cropped, embed
from saev.evaluate.made_from import Folders
from saev.evaluate.measure import Evaluator
from saev.evaluate.opened import open_all
from saev.evaluate.tower_outputs import Rerun
from saev.evaluate.words import read_words
from saev.settings.analysis import AnalysisResolved, AnalysisSettings
from saev.settings.evaluation import EvaluationSettings
from saev.tools import estimate
from saev.workflow import known_towers
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
    expected = torch.nn.functional.normalize(apart, dim=1)
    assert torch.allclose(centred(apart + 100), expected, atol=1e-5)


@pytest.mark.parametrize("patch", [29, 0, 58])
def test_a_crop_is_the_square_around_its_patch(patch):
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
    # Small patches, so that crops are smaller than images.
    vision = {**TINY["vision_cfg"], "patch_size": 4}
    text = {**TINY["text_cfg"], "vocab_size": 49408}
    (folder / "tiny.json").write_text(json.dumps({**TINY, "vision_cfg": vision, "text_cfg": text}))
    return record(listed, listed / "vit", given, range(1))


def analysed(reader, stream, name="sae"):
    """A dictionary of ``stream``, half of whose images are held out, and its analysis."""
    shape = {**TOPK, "k": 8, "held_out": 0.5}
    sae = write_sae(reader.path / f"{name}-{stream}", reader.path, stream, shape)
    analysis = AnalysisSettings(top_images=4)
    inputs = open_inputs(analysis, sae, reader.path, None, torch.device("cpu"))
    out = sae / "analysis"
    (out / "scratch").mkdir(parents=True)
    write_part(inputs, analysis, 0, out, out / "scratch")
    write_merged(inputs, analysis, AnalysisResolved(), n_parts(N), out, out)
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
        cosines = (of_images[owner == latent].double() @ of_texts.T).numpy()
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


def test_a_copy_of_an_image_that_was_shown_judges_no_name(recorded):
    inputs, _, _ = analysed(recorded, "layer-00.patches", "copies")
    rows, none = recorded.rows(0, N), np.full((24, 1), -1)
    seen = named.sightings(inputs, np.arange(24), rows, none, 0)
    latent = np.bincount(seen.latent).argmax()
    row, other = seen.row[seen.latent == latent][:2]
    inputs.activations.__dict__["twins"] = np.array(
        [[other, row]] if other > row else [[row, other]]
    )
    shown = np.where(np.arange(24)[:, None] == latent, other, -1)
    now = named.sightings(inputs, np.arange(24), np.array([row, other]), shown, 0)
    assert latent not in now.latent
    apart = named.sightings(inputs, np.arange(24), np.array([row, other]), none, 0)
    assert (apart.latent == latent).sum() == 2


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """Plans a run whose names are to be scored, with a tower that knows so many tokens."""
    monkeypatch.chdir(tmp_path)
    # In this process, which has imported PyTorch already.
    monkeypatch.setattr(known_towers, "_run", lambda given: [preview(one) for one in given])
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

    Path("raw.json").write_text(json.dumps(raw))

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
    assert list(plan.data["specs"]["score_names"]) == [folder]
    said = "\n".join(estimate.lines(plan, "raw.json", 2))
    assert re.search(r"^score_names +1 +1$", said, re.M)
    first = json.loads(plan.data["specs"]["score_names"][folder])
    assert first["settings"]["names"].endswith("names.csv")
    more, folder = planned(6)
    assert json.loads(more.data["specs"]["score_names"][folder])["settings"] != first["settings"]
    few, _ = planned(4)
    assert few.data["specs"]["score_names"] == {}
    assert "has 4 different names; 5 are needed to score them" in caplog.text
    with pytest.raises(UserError, match=r"can't be scored: vit\.v: the text tower of tower\.json"):
        planned(5, n_tokens=64)
    Path("names.csv").unlink()
    with pytest.raises(UserError, match=r"analysis\.n\.names: there is no file names\.csv"):
        resolve(json.loads(Path("raw.json").read_text()))


def test_of_dictionaries_without_names_nothing_is_said_unless_all_are(planned, caplog):
    caplog.set_level("INFO")
    planned(4)
    raw = json.loads(Path("raw.json").read_text())
    raw["sae"] |= {f"t{seed}": {**raw["sae"]["s"], "init_seed": seed} for seed in range(3)}
    raw["runs"] += [{**raw["runs"][0], "sae": f"t{seed}"} for seed in range(3)]

    def said():
        caplog.clear()
        resolve(raw)
        return [record.message for record in caplog.records if "score_names" in record.message]

    (line,) = said()
    assert "has 4 different names" in line
    Path("names.csv").write_text("dictionary,latent,name\n")
    assert said() == [
        "analysis.n.score_names: no dictionary has a name; 5 are needed to score them"
    ]


def test_scores_need_names(planned):
    with pytest.raises(UserError, match="score_names needs names"):
        resolve({"analysis": {"n": {"score_names": True}}})


# suggestions of a vocabulary ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no file"),
        (b"", "has 0 words: write 2 or more"),
        (b"\n \ndog\n", "has 1 words"),
        (b"sea\nDog\n\ndog \n", "has words twice:\n  - line 4: dog is on line 2 already"),
        (b"caf\xe9\nsea\n", "isn't text in UTF-8"),
    ],
)
def test_a_vocabulary_that_cannot_be_used_is_refused(tmp_path, content, said):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_words("evaluation.e.vocabulary", path)
    assert said in str(caught.value)
    assert str(caught.value).startswith("evaluation.e.vocabulary: ")


def test_a_vocabulary_is_read_with_its_phrases(tmp_path):
    (tmp_path / "words.txt").write_bytes(b"\xef\xbb\xbfa  dog's\tnose\r\n\r\nsea\r\n")
    assert read_words("v", tmp_path / "words.txt") == ["a dog's nose", "sea"]


def test_words_are_suggested_for_latents_whose_images_agree_and_for_no_others():
    rng = np.random.default_rng(0)
    words = [f"word {i}" for i in range(40)]
    vectors = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(40, 64))), dim=1)
    latents = np.arange(5, 305)
    crops = 3 + 0.5 * rng.normal(size=(300, 4, 64))  # what all images share, and noise
    crops[:100] += 2 * vectors[np.arange(100) % 40].numpy()[:, None]
    crops = torch.nn.functional.normalize(torch.from_numpy(crops).float().flatten(0, 1), dim=1)
    found = vocabulary.measure(latents, 310, crops, words, vectors, seed=0)
    suggested, margin = found.columns["suggested"], found.columns["suggested_margin"]
    right = [suggested[5 + i] == words[i % 40] for i in range(100)]
    assert np.mean(right) > 0.95
    others = suggested[105:305]
    assert sum(one is not None for one in others) <= 6  # about 1 % of 200
    assert [one is not None for one in suggested] == (margin > 0).tolist()
    assert np.isnan(margin[[*range(5), *range(305, 310)]]).all()
    (figure,) = found.figures
    assert figure.measured.value == sum(one is not None for one in suggested) / 300
    assert figure.baselines["shuffled_latents"].value == pytest.approx(0.01, abs=0.012)
    assert figure.note == "latents with fewer than 4 images: 10, not counted"


def test_a_margin_is_to_what_one_in_a_hundred_shuffled_latents_exceeds():
    rng = np.random.default_rng(1)
    crops, words = (torch.from_numpy(rng.normal(size=(n, 8))) for n in (4 * 30, 5))
    found = vocabulary.measure(np.arange(30), 30, crops, list("abcde"), words, seed=3)
    apart, texts = centred(crops), centred(words)
    drawn = np.random.default_rng([3, 30])
    null = []
    for _ in range(10):
        order = drawn.permutation(120)
        for i in range(30):
            cosines = apart[order[4 * i : 4 * i + 4]] @ texts.T
            null.append(cosines.mean(0).max().item())
    least = np.quantile(null, 0.99)
    own = [(apart[4 * i : 4 * i + 4] @ texts.T).mean(0).max().item() - least for i in range(30)]
    assert found.columns["suggested_margin"] == pytest.approx(own, abs=1e-9)


@pytest.mark.parametrize("stream", ["layer-00.cls", "layer-00.patches"])
def test_an_evaluation_has_the_suggestions_of_its_vocabulary(recorded, tmp_path, stream):
    _, sae, out = analysed(recorded, stream)
    path = tmp_path / "words.txt"
    path.write_text("\n".join(NAMES))
    opened = open_all(Folders(out, sae, recorded.path, None), torch.device("cpu"))
    asked = EvaluationSettings(**OFF, vocabulary=str(path))
    found = Evaluator(opened, asked, tmp_path)
    found.run()
    latents = opened.analysis.latents()
    judged = np.flatnonzero(latents["image_count"] >= 4)
    rows, patches = (latents[f"top_{name}"][judged, :4].ravel() for name in ("rows", "patches"))
    assert (patches >= 0).all() == stream.endswith("patches")
    rerun = Rerun(recorded, recorded.path.parent, torch.device("cpu"), 1)
    crops = embed(rerun, rows, patches)
    words = encode_texts(recorded_settings(recorded.meta, recorded.path), NAMES)
    by_hand = vocabulary.measure(judged, 24, crops, NAMES, words, asked.seed)
    for name, column in by_hand.columns.items():
        np.testing.assert_array_equal(found.results.columns[name], column)
    names = found.write()
    table = pq.read_table(tmp_path / "latents.parquet")
    assert "latents.parquet" in names
    assert table.schema.field("suggested").type == "string"
    assert table["suggested_margin"].null_count == 24 - len(judged)


def test_what_a_vocabulary_holds_belongs_to_an_evaluation_and_where_it_lies_does_not(planned):
    planned(0)
    given = {"e": {"vocabulary": "words.txt"}}

    def name(**more):
        return resolve_with(given | more).runs[0]["evaluation"]

    def resolve_with(evaluation):
        raw = json.loads(Path("raw.json").read_text())
        raw["runs"][0]["evaluation"] = "e"
        return resolve({**raw, "evaluation": evaluation})

    Path("words.txt").write_text("sea\nsun\n")
    Path("moved.txt").write_text("sea\nsun\n")
    first = name()
    assert name(e={"vocabulary": "moved.txt"}) == first
    Path("words.txt").write_text("sea\nmoon\n")
    assert name() != first
    text = {**TOWER["text_cfg"], "vocab_size": 64}
    Path("tower.json").write_text(json.dumps({**TOWER, "text_cfg": text}))
    with pytest.raises(UserError, match=r"evaluation\.e\.vocabulary: needs a text tower: vit\.v: "):
        name()
