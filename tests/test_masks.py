"""What latents find of masks: the classes of patches, average precision, and the figures."""

import json
from contextlib import nullcontext

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from analysed import Case, vectors, write_images
from evaluated import evaluated, figures, firing, folders
from PIL import Image
from pydantic import ValidationError
from recording import list_images, record, settings
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss
from test_stability import project, resolve

from saev.core.errors import UserError
from saev.evaluate import __main__ as evaluate
from saev.evaluate import mask_scores
from saev.evaluate.artifact import Evaluation
from saev.evaluate.mask_counts import MaskCounts
from saev.evaluate.mask_files import mask_key
from saev.evaluate.mask_scores import BINS, Counted, bin_of, edge_of, iou_at, scores
from saev.evaluate.patch_classes import (
    Masks,
    covered_pixels,
    nearest_pixels,
    overlapping_classes,
    patch_classes,
)
from saev.evaluate.untrained import untrained
from saev.images.geometry import Box, Geometry
from saev.settings.evaluation import EvaluationSettings, MaskSettings
from saev.workflow import jobs

__all__ = ["project"]

N = 400
WITHOUT = range(5, N, 10)
"""Images without a mask."""
CLASSES = {"skin": 1, "hair": 7, "rare": 9}
OTHERS = {"untrained_dictionary", "pca", "k_means", "semi_nmf"}


def counted(values, members):
    """Histograms of latents (v, n), and classes (v, c)."""
    n_numbers = members.shape[1] + 1
    found = []
    for j, value in enumerate(values.T):
        for number in range(n_numbers):
            mine = (value > 0) & (members[:, number - 1] if number else True)
            bins, n = np.unique(bin_of(value[mine]), return_counts=True)
            found.append(np.stack([np.full(len(n), j * n_numbers + number), bins, n]))
    sizes = np.array([len(values), *members.sum(0)])
    return Counted(*np.concatenate(found, axis=1).astype(np.int64)), sizes


def test_average_precision_and_iou_are_those_of_their_definitions():
    values = np.array([[4], [2], [1], [0], [0]], np.float32)
    members = np.array([[1], [0], [1], [1], [0]], bool)
    histogram, sizes = counted(values, members)
    found = scores(histogram, sizes)
    # Of 3, the first is found at 1 / 1, the second at 2 / 3, and the last among all at 3 / 5.
    assert found.ap == pytest.approx([(1 + 2 / 3 + 3 / 5) / 3])
    # From 1 on it fires on 3 vectors, 2 of the class's 3: 2 / (3 + 3 − 2).
    assert found.iou == pytest.approx([2 / 4])
    assert edge_of(found.threshold) == [1]
    assert found.pair.tolist() == [1]
    assert iou_at(histogram, sizes, 1, int(bin_of(np.float32([3]))[0])) == pytest.approx(1 / 3)
    assert iou_at(histogram, sizes, 1, BINS - 1) == 0


def test_average_precision_is_scikit_learns_up_to_a_thousandth():
    rng = np.random.default_rng(0)
    members = rng.random((20_000, 3)) < [0.3, 0.05, 0.002]
    values = rng.normal(0, 1, (20_000, 6)) + 1.5 * members[:, [0, 1, 2, 0, 1, 2]]
    values = np.maximum(values * [1, 1, 1, 1e-3, 50, 1], 0).astype(np.float32)
    histogram, sizes = counted(values, members)
    found = scores(histogram, sizes)
    assert len(found.pair) == 18
    for pair, ap, iou in zip(found.pair, found.ap, found.iou, strict=True):
        score, is_one = values[:, pair // 4], members[:, pair % 4 - 1]
        assert ap == pytest.approx(average_precision_score(is_one, score), abs=1e-3)
        order = np.argsort(-score)[: (score > 0).sum()]
        hits = np.cumsum(is_one[order])
        every = hits / (np.arange(1, len(order) + 1) + is_one.sum() - hits)
        assert iou == pytest.approx(every.max(), abs=1e-3)


def test_bins_rise_with_the_value():
    values = np.exp(np.random.default_rng(0).normal(0, 8, 5000)).astype(np.float32)
    bins = bin_of(np.sort(values))
    assert (np.diff(bins) >= 0).all()
    assert (edge_of(bins) <= np.sort(values)).all()
    assert (np.sort(values) < edge_of(bins + 1)).all()
    assert bins.max() < BINS
    assert bin_of(np.float32([1, 2])).tolist() == [
        bin_of(np.float32([1]))[0] + 1024 * i for i in (0, 1)
    ]
    assert mask_scores.PER_OCTAVE == 1024


def test_a_patch_is_of_the_class_that_covers_half_of_it():
    pixels = np.zeros((5, 8), np.uint8)
    pixels[:2, :2] = [[1, 1], [1, 0]]
    pixels[:2, 2:4] = [[1, 2], [1, 2]]  # half each
    pixels[:2, 4:6] = [[3, 2], [0, 0]]
    pixels[2:4, 0:2] = [[0, 0], [5, 5]]
    pixels[4] = 9  # beyond the grid
    found = patch_classes(pixels, 2, (2, 4))
    assert found[0].tolist() == [1, 1, 0, 0, 5, 0, 0, 0]
    assert found[1].tolist() == [0, 2, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(64, 48), (48, 64), (200, 40)])
def test_a_mask_is_cut_like_its_image(mode, size):
    width, height = size
    geometry = Geometry(32, mode, 36, "bilinear", (0, 0, 0), (1, 1, 1), 16, (2, 2))
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, : width // 2] = 100
    mask[height // 2 :, width // 3 :] = 200
    seen = geometry.pixels(Image.fromarray(mask).convert("RGB"))[..., 0]
    found = nearest_pixels(mask, geometry.crop(width, height), 32)
    # Smoothing blurs edges; everywhere else both are the same.
    assert (np.abs(found.astype(int) - seen) > 60).mean() < 0.12
    assert set(np.unique(found)) <= {0, 100, 200}
    inner = np.pad(np.ones((28, 28), bool), 2)
    flat = (np.abs(np.gradient(seen.astype(float))).sum(0) == 0) & inner
    assert (found[flat] == seen[flat]).all()


def test_what_lies_beyond_a_mask_is_no_class():
    found = nearest_pixels(np.full((2, 2), 5, np.uint8), Box(-1, 0, 3, 2), 4)
    assert found.tolist() == [[0, 5, 5, 0]] * 4


def test_the_mask_of_an_image_has_its_path():
    assert mask_key("a/b.jpg", ".png") == "a/b.png"
    assert mask_key("a.b/c", ".png") == "a.b/c.png"
    assert mask_key("x.1.tif", "_part.png") == "x.1_part.png"


def paint(folder, key, values, palette=True):
    """A mask of 2 × 2 patches for an image of 32 × 32 pixels."""
    pixels = np.kron(np.reshape(values, (2, 2)), np.ones((16, 16))).astype(np.uint8)
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette([7 * i % 256 for i in range(768)])
    (folder / key).parent.mkdir(parents=True, exist_ok=True)
    image.save(folder / key)


def mask_values(n):
    """Pixel values of patches (n, 4)."""
    values = np.random.default_rng(5).choice([0, 1, 7], (n, 4), p=[0.5, 0.3, 0.2])
    values[:4, 0] = 9
    return values


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """An analysis of patches, whose vectors have a direction for each class."""
    return make(tmp_path_factory.mktemp("masks"))


def make(folder, **options):
    x, values = vectors(N, patches=4), mask_values(N)
    x[..., 0] += 2 * (values == 1)
    x[..., 1] += 2 * (values == 7)
    write_images(folder, [f"k{i % 3}/{i:03}.jpg" for i in range(N)])
    for i in range(N):
        if i not in WITHOUT:
            paint(folder / "masks", f"k{i % 3}/{i:03}.png", values[i])
    made = Case(folder, x, {}, absent=(3, 300), **options)
    made.analyse()
    return made


def setting(case, **changes):
    return {"folder": str(case.activations.parent / "masks"), "classes": CLASSES, **changes}


def dense(case, other=None):
    """Latents (images, patches, n), cut off to their bins, and row ids."""
    inputs = case.open()
    rows = inputs.activations.rows(0, N)
    taken = torch.from_numpy(case.values[rows].reshape(-1, 10))
    vector, latent, value = (t.detach().numpy() for t in (other or inputs.sae).active(taken))
    z = np.zeros((len(taken), 24), np.float32)
    z[vector, latent] = edge_of(bin_of(value))
    return z.reshape(len(rows), 4, 24), rows, inputs


def rederived(z, values, training, judging):
    """Latents, APs and IoUs of two classes, from dense latents."""
    fit, judge = (z[side].reshape(-1, 24) for side in (training, judging))
    aps, ious, latents = [], [], []
    for value in (1, 7):
        a, b = ((values == value)[side].reshape(-1) for side in (training, judging))
        best = int(np.argmax([average_precision_score(a, fit[:, j]) for j in range(24)]))
        latents.append(best)
        aps.append(average_precision_score(b, judge[:, best]))
        per = {
            (j, t): ((fit[:, j] >= t) & a).sum() / ((fit[:, j] >= t) | a).sum()
            for j in range(24)
            for t in np.unique(fit[fit[:, j] > 0, j])
        }
        j, t = max(per, key=per.get)
        ious.append(((judge[:, j] >= t) & b).sum() / ((judge[:, j] >= t) | b).sum())
    return latents, aps, ious


def rederived_probes(z, values, training, judging):
    """R of the best probe of two classes, from dense latents."""
    fit, judge = (z[side].reshape(-1, 24).astype(float) for side in (training, judging))
    found = []
    for value in (1, 7):
        a, b = ((values == value)[side].reshape(-1) for side in (training, judging))
        rs = []
        for j in np.flatnonzero((fit[a] > 0).any(0)):
            std = fit[:, [j]].std()
            probe = LogisticRegression(C=1, tol=1e-10).fit(fit[:, [j]] / std, a)
            sides = ((fit[:, [j]] / std, a), (judge[:, [j]] / std, b))
            losses = [log_loss(y, probe.predict_proba(x)[:, 1]) for x, y in sides]
            bases = [log_loss(y, np.full(len(y), a.mean())) for y in (a, b)]
            rs.append([1 - loss / base for loss, base in zip(losses, bases, strict=True)])
        found.append(max(rs)[1])
    return found


def test_figures_are_those_of_their_definitions(case, tmp_path):
    evaluator = evaluated(case, tmp_path / "a", masks=setting(case))
    found = figures(evaluator)
    z, rows, inputs = dense(case)
    have = ~np.isin(rows, WITHOUT)
    held_out = inputs.splits(rows)["held_out"]
    values = mask_values(N)[rows]
    latents, aps, ious = rederived(z, values, have & ~held_out, have & held_out)
    assert found["masks.map"].measured.value == pytest.approx(np.mean(aps))
    assert found["masks.best_iou"].measured.value == pytest.approx(np.mean(ious))
    assert found["masks.coverage_30"].measured.value == np.mean(np.array(aps) >= 0.3)
    constant = np.mean([(values == v)[have & held_out].mean() for v in (1, 7)])
    for name in ("map", "best_iou", "coverage_30", "probe_r"):
        figure = found[f"masks.{name}"]
        assert set(figure.baselines) == {*OTHERS, "constant"}
        assert (figure.n, figure.over, figure.split) == (2, "classes", "held_out")
        assert figure.note == (
            "40 images have no mask and are left out; "
            "semi-NMF has 10 directions, not 24: more than the width says nothing"
        )
    assert set(found["masks.purity_16"].baselines) == OTHERS
    assert found["masks.map"].baselines["constant"].value == pytest.approx(constant)
    random = untrained(inputs.sae, evaluator.opened.analysis.summary["splits"]["train"]["l0"], 0)
    theirs = rederived(dense(case, random)[0], values, have & ~held_out, have & held_out)
    assert found["masks.map"].baselines["untrained_dictionary"].value == pytest.approx(
        np.mean(theirs[1])
    )
    probes = rederived_probes(z, values, have & ~held_out, have & held_out)
    assert found["masks.probe_r"].measured.value == pytest.approx(np.mean(probes), abs=1e-3)
    # The directions of classes have the largest variance.
    assert (
        found["masks.map"].baselines["pca"].value > found["masks.map"].baselines["constant"].value
    )
    assert evaluator.left_out == {"masks": {"rare": 3}}
    table = pq.read_table(tmp_path / "a/masks.parquet").to_pydict()
    assert table["class"] == ["skin", "hair"]
    assert table["latent"] == latents
    assert table["ap"] == pytest.approx(aps)
    assert table["iou"] == pytest.approx(ious)
    assert evaluator.results.columns["mask_ap"][latents].max() == pytest.approx(max(aps))


def test_purity_is_the_share_of_the_most_common_class_of_top_patches(case, tmp_path):
    evaluator = evaluated(case, tmp_path / "a", masks=setting(case))
    z, rows, _ = dense(case)
    have = ~np.isin(rows, WITHOUT)
    values = mask_values(N)[rows][have]
    found = []
    for j in range(24):
        largest = z[have][:, :, j].max(1)
        if (largest > 0).sum() < 16:
            continue
        top = np.argsort(-largest, kind="stable")[:16]
        of_patch = values[top, z[have][top, :, j].argmax(1)]
        found.append(max((of_patch == value).mean() for value in (1, 7, 9)))
    purity = figures(evaluator)["masks.purity_16"]
    assert purity.n == len(found) > 10
    assert purity.measured.value == pytest.approx(np.mean(found))


def test_steps_and_memory_change_no_count(case, tmp_path):
    z, rows, inputs = dense(case)
    made = []
    for steps, limit in ((1, 1 << 22), (7, 100)):
        masks = Masks(MaskSettings(**setting(case)), inputs.activations, case.activations.parent)
        found = MaskCounts(masks, np.arange(N) % 3 == 0, 24, tmp_path / str(steps), limit)
        for part in np.array_split(np.arange(len(rows)), steps):
            found.add(firing(rows[part].tolist(), z[part]))
        pieces = list(found.pieces())
        sides = [
            np.concatenate([np.stack(piece[side]) for piece in pieces], axis=1).tolist()
            for side in (0, 1)
        ]
        made.append((sides, len(pieces), found.purity().tobytes(), found.n_patches.tolist()))
    assert made[0][0] == made[1][0]
    assert made[0][1] < made[1][1]
    assert made[0][2:] == made[1][2:]


def test_shards_and_threads_change_no_byte_of_the_figures(tmp_path):
    made = []
    threads = torch.get_num_threads()
    for shard_images, n in ((256, 1), (768, 2)):
        torch.set_num_threads(n)
        case = make(tmp_path / str(n), shard_images=shard_images)
        found = evaluated(case, tmp_path / f"out-{n}", masks=setting(case))
        made.append({name: (tmp_path / f"out-{n}" / name).read_bytes() for name in found.write()})
    torch.set_num_threads(threads)
    assert set(made[0]) == {"evaluation.json", "latents.parquet", "masks.parquet"}
    assert made[0] == made[1]


def end_in_zeros(path):
    """Write a mask whose second half got lost, which Pillow reads without a word."""
    values = np.random.default_rng(0).choice([0, 1, 2, 7], (32, 32)).astype(np.uint8)
    Image.fromarray(values).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    assert Image.open(path, formats=("PNG",)).load()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda p: Image.new("L", (32, 16)).save(p),
            "32 × 16 pixels, and its image k1/001.jpg has ",
        ),
        (lambda p: Image.new("L", (32, 32), 4).save(p), "pixels of value 4, which is no class"),
        (lambda p: Image.new("RGB", (32, 32)).save(p), r"holds colours \(RGB\): save it as"),
        (lambda p: p.write_bytes(b"no"), "can't be read: isn't a PNG"),
        (lambda p: p.symlink_to(p.parent / "gone.png"), "can't be read: .*No such file"),
        (end_in_zeros, "can't be read: its pixels don't match their checksum"),
        (lambda p: Image.new("L", (64, 64), 7).save(p), None),
    ],
)
def test_a_mask_that_does_not_fit_is_named(case, tmp_path, spoil, said):
    paint(tmp_path, "k0/000.png", [0] * 4, palette=False)
    (tmp_path / "k1").mkdir()
    spoil(tmp_path / "k1/001.png")
    activations = case.open().activations
    masks = Masks(
        MaskSettings(folder=str(tmp_path), classes=CLASSES), activations, case.activations.parent
    )
    with pytest.raises(UserError, match=f"k1/001.png .*{said}") if said else nullcontext():
        have, numbers = masks.read(np.array([0, 1, 2]))
    if not said:
        assert have.tolist() == [True, True, False]
        assert numbers[0].tolist() == [[0] * 4, [2] * 4, [0] * 4]
        assert masks.example == "k2/002.png"


def test_a_mask_is_upright_like_its_turned_image(tmp_path):
    (tmp_path / "pictures").mkdir()
    turned = Image.new("RGB", (48, 32), (9, 90, 200))
    exif = turned.getexif()
    exif[0x0112] = 6
    for name in ("a.jpg", "b.jpg"):
        turned.save(tmp_path / "pictures" / name, exif=exif)
    listed = list_images(tmp_path / "pictures", tmp_path / "results/pets")
    activations = record(listed, listed / "vit", settings(tmp_path), range(1))
    upright = np.repeat([1, 7], 24)[:, None] * np.ones(32)
    Image.fromarray(upright.astype(np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(upright.T.astype(np.uint8)).save(tmp_path / "b.png")
    masks = Masks(MaskSettings(folder=str(tmp_path), classes=CLASSES), activations, listed)
    have, numbers = masks.read(np.array([0]))
    rows, columns = masks.geometry.grid
    assert have.tolist() == [True]
    assert numbers[0, 0].tolist() == [1] * (rows * columns // 2) + [2] * (rows * columns // 2)
    with pytest.raises(UserError, match=r"48 × 32 pixels, and its image b\.jpg has 32 × 48 as"):
        masks.read(np.array([1]))


def test_masks_of_other_images_are_refused(case, tmp_path):
    paint(tmp_path / "masks", "other.png", [1] * 4)
    with pytest.raises(UserError, match=r"no image has a mask in .*would be k0/000\.png"):
        evaluated(case, tmp_path / "a", masks=setting(case, folder=str(tmp_path / "masks")))


def test_without_patches_or_classes_nothing_is_judged(case, tmp_path):
    few = evaluated(case, tmp_path / "a", masks=setting(case, classes={**CLASSES, "none": 3}))
    assert few.left_out["masks"] == {"rare": 3, "none": 0}
    folder = tmp_path / "cls"
    write_images(folder, [f"{i}.jpg" for i in range(300)])
    whole = Case(folder, vectors(300), {})
    whole.analyse()
    found = evaluated(whole, tmp_path / "b", masks=setting(case))
    assert figures(found)["masks.map"].note == "layer-01.cls has no patches"


def test_the_stage_judges_the_masks_that_the_plan_saw(case, tmp_path, project):
    asked = setting(case)
    project["evaluation"]["e"]["masks"] = asked

    def planned():
        plan = resolve(project)
        (first, *_) = jobs.of_stage(plan, "evaluate")
        return first.folder.name, plan.component("evaluation", first.folder.name)["resolved"]

    name, resolved = planned()
    assert planned() == (name, resolved)
    given, out = folders(case), tmp_path / "evaluations" / "masks"
    spec = {"settings": {"masks": asked}, "resolved": {"masks": resolved["masks"]}}
    arguments = [
        *("--spec", json.dumps(spec), "--analysis", str(given.analysis), "--sae", str(given.sae)),
        *("--activations", str(given.activations), "--out", str(out), "--threads", "1"),
    ]
    evaluate.main(arguments)
    assert Evaluation(out).by_class().num_rows == 2
    assert Evaluation(out).meta["settings"]["masks"]["sha256"] == resolved["masks"]["sha256"]
    # A mask of another content and the same size.
    path = given.activations.parent / "masks/k0/000.png"
    before = path.read_bytes()
    try:
        path.write_bytes(before[::-1])
        assert planned()[0] != name
        arguments[arguments.index(str(out))] = str(out.with_name("again"))
        with pytest.raises(UserError, match="have changed since the workflow started"):
            evaluate.main(arguments)
    finally:
        path.write_bytes(before)
    # Masks whose digest is stated may be drawn by a rule, so they needn't be there yet.
    stated = {**asked, "folder": "later", "sha256": resolved["masks"]["sha256"]}
    project["evaluation"]["e"]["masks"] = stated
    assert "masks" not in planned()[1]
    for changed, said in (
        (stated, "masks: there is no folder later"),
        ({**asked, "sha256": "0" * 64}, f"have SHA-256 {stated['sha256']}, but the settings say 0"),
    ):
        arguments[1] = json.dumps({"settings": {"masks": changed}})
        with pytest.raises(UserError, match=said):
            evaluate.main(arguments)
    arguments[1] = json.dumps({"settings": {"masks": {**stated, "folder": asked["folder"]}}})
    evaluate.main(arguments)
    assert Evaluation(out.with_name("again")).by_class().num_rows == 2
    project["evaluation"]["e"]["masks"] = {**asked, "folder": "nowhere"}
    with pytest.raises(
        UserError, match=r"evaluation\.e\.masks\.folder: there is no folder nowhere"
    ):
        resolve(project)
    # Folders of classes are known before anything runs.
    project["evaluation"]["e"]["masks"] = {**asked, "pixels": "file", "classes": ["fur"]}
    with pytest.raises(UserError, match="have no folder fur, which `classes` names; there are: k0"):
        resolve(project)


def test_values_may_lie_in_red_and_green_beside_the_image_and_some_mean_nothing(case, tmp_path):
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:16, :16] = [9, 1, 77]  # 265
    pixels[16:, :16] = [7, 0, 0]
    (tmp_path / "k0").mkdir()
    Image.fromarray(pixels).save(tmp_path / "k0/000_object.png")
    activations = case.open().activations
    settings = MaskSettings(
        folder=str(tmp_path), ending="_object.png", pixels="red_green", classes={"dog": 265}
    )
    with pytest.raises(
        UserError, match=r"000_object\.png has pixels of value 7, which is no class"
    ):
        Masks(settings, activations, case.activations.parent).read(np.array([0]))
    settings = settings.model_copy(update={"unnamed": "none"})
    masks = Masks(settings, activations, case.activations.parent)
    have, numbers = masks.read(np.array([0, 1]))
    assert have.tolist() == [True, False]
    assert numbers[0, 0].tolist() == [1, 0, 0, 0]
    assert masks.example == "k1/001_object.png"
    Image.new("L", (32, 32)).save(tmp_path / "k0/000_object.png")
    with pytest.raises(
        UserError, match=r"000_object.png has another format \(L\): with pixels: red"
    ):
        masks.read(np.array([0]))


def test_patches_may_be_of_several_classes_with_files_of_their_own():
    # Two patches of 2 × 2 pixels. Class 1 covers 4 and 1 of them, 2 covers 2 and 2, 3 covers 3
    # and 2.
    pixels = np.array([[1, 1, 0, 1], [1, 1, 0, 0]], bool)
    assert covered_pixels(pixels, 2, (1, 2)).tolist() == [4, 1]
    covered = np.array([[4, 1], [2, 2], [3, 2]])
    assert overlapping_classes(covered, 2).tolist() == [[1, 2], [3, 3], [2, 0]]
    assert overlapping_classes(covered[:1], 2).tolist() == [[1, 0], [0, 0]]


@pytest.fixture
def in_folders(case, tmp_path):
    """Files for two classes of three images, and the settings that name them."""
    bits = {"fur": [255, 0, 0, 255], "eye": [255, 255, 0, 0]}
    for name, values in bits.items():
        paint(tmp_path, f"{name}/k0/000.png", values, palette=False)
    paint(tmp_path, "eye/k1/001.png", [0, 0, 0, 1])
    for path in tmp_path.rglob("k0/*.png"):
        Image.open(path).convert("1").save(path)
    given = {"folder": str(tmp_path), "pixels": "file", "classes": ("fur", "eye")}
    return lambda **more: Masks(
        MaskSettings(**{**given, **more}), case.open().activations, case.activations.parent
    )


def test_a_class_may_have_a_folder_of_masks_of_its_own(in_folders):
    masks = in_folders()
    have, numbers = masks.read(np.array([0, 1, 2]))
    assert masks.names == ["fur", "eye"]
    assert have.tolist() == [True, True, False]
    assert numbers[:, 0].tolist() == [[1, 2, 0, 1], [2, 0, 0, 0]]
    assert numbers[:, 1].tolist() == [[0, 0, 0, 2], [0] * 4]  # it has no file of fur, so no fur
    assert masks.example == "fur/k2/002.png"


def test_mistakes_in_folders_of_classes_are_named(in_folders, tmp_path):
    with pytest.raises(
        UserError, match="have no folder tail, which `classes` names; there are: eye"
    ):
        in_folders(classes=("fur", "tail"))
    with pytest.raises(UserError, match="have a folder eye, which is no class"):
        in_folders(classes=("fur",))
    assert in_folders(classes=("fur",), unnamed="none").names == ["fur"]
    Image.new("L", (32, 16)).save(tmp_path / "eye/k1/001.png")
    with pytest.raises(UserError, match=r"eye/k1/001.png has 32 × 16 pixels"):
        in_folders().read(np.array([0, 1]))
    for wrong in ({"classes": {"fur": 1}}, {"classes": ("fur", "fur")}, {"pixels": "index"}):
        with pytest.raises(ValidationError, match="classes: "):
            in_folders(**wrong)


def test_counts_of_one_file_a_class_are_those_of_one_file_for_all(case, tmp_path):
    for name, value in CLASSES.items():
        for path in (case.activations.parent / "masks").rglob("*.png"):
            key = path.relative_to(case.activations.parent / "masks")
            bits = np.asarray(Image.open(path)) == value
            (tmp_path / name / key).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(bits).save(tmp_path / name / key)
    found = []
    for given in (
        setting(case),
        setting(case, folder=str(tmp_path), pixels="file", classes=tuple(CLASSES)),
    ):
        masks = Masks(MaskSettings(**given), case.open().activations, case.activations.parent)
        found.append(masks.read(np.arange(20)[np.arange(20) != 3]))
    assert all((one == other).all() for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("classes", [{}, {"a": 0}, {"a": 256}, {"a": 3, "b": 3}])
def test_each_class_has_a_pixel_value_of_its_own(classes):
    with pytest.raises(ValueError, match="classes"):
        EvaluationSettings(masks={"folder": "m", "classes": classes})
