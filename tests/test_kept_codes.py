"""The codes that an analysis keeps: as encoded, bounded, and never believed if damaged."""

import shutil

import numpy as np
import pytest
import torch
from analysed import RELU, TOPK, Case, cycling, vectors

from saev.activations.artifact import Activations
from saev.analyze import parts
from saev.analyze.accumulate import active
from saev.analyze.artifact import CODES, Analysis, codes_counts, codes_entries, codes_json
from saev.analyze.kept_codes import GrowingArray, KeptCodes, entry_type
from saev.core.blocks import BLOCK
from saev.core.files import read_json, write_json
from saev.dashboard import fired
from saev.dashboard.build import build
from saev.evaluate import firing
from saev.images.artifact import Images

ABSENT = (0, 7, 300, 511)
ARCHITECTURES = {
    "topk": TOPK,
    "relu": RELU,
    "batchtopk": {**TOPK, "architecture": "batchtopk"},
}


class Seen:
    """Collects what an evaluation shows to a metric."""

    def __init__(self):
        self.steps = []

    def add(self, seen):
        self.steps.append(seen)


def opened(case):
    """The inputs of a case that was analysed in parts of `BLOCK` images, and its kept codes."""
    inputs = case.open()
    kept = KeptCodes(Analysis(case.out), inputs.activations, inputs.stream, BLOCK)
    return inputs, kept


@pytest.fixture
def case(tmp_path):
    """An analysis in three parts."""
    case = Case(tmp_path, vectors(600, patches=3), {"kind": cycling(600, "a", "b")}, absent=ABSENT)
    case.analyse()
    return case


def all_fired(case, kept):
    """Where each latent fires on some images, and all that fires on them and on others."""
    inputs = case.open()
    source = fired.Reading(inputs.sae, inputs.activations, inputs.stream, kept)
    present = np.setdiff1d(np.arange(len(case.values)), ABSENT)
    rows = np.random.default_rng(0).choice(present, (inputs.sae.n_latents, 9))
    rows[3, 2] = rows[5] = -1
    images = []
    found = fired.fired(source, rows, "looking", lambda *of: images.append(of), present[::2])
    return [*found], images


def require_same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        for a, b in zip(one, other, strict=True):
            assert np.asarray(a).dtype == np.asarray(b).dtype
            assert np.array_equal(a, b)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("patches", [0, 3])
def test_they_are_what_the_dictionary_encodes_bit_for_bit(tmp_path, patches, architecture):
    sae = ARCHITECTURES[architecture]
    case = Case(tmp_path, vectors(600, patches=patches), {}, absent=ABSENT, sae=sae)
    case.analyse()
    inputs, kept = opened(case)
    for number in range(3):
        part = kept.part(number)
        some = part.rows[[0, 1, 2, 50, len(part.rows) - 1]]
        for rows in (part.rows, some, part.rows[:0]):
            values = inputs.activations.float32(inputs.activations.take(inputs.stream, rows))
            found = active(inputs.sae, values.reshape(-1, inputs.stream.d))
            require_same([part.take(rows)], [found])
            assert len(found[0]) > 0 or not len(rows)


def test_pages_get_the_same_from_them_as_from_encoding_again(case, monkeypatch):
    none = KeptCodes(Analysis(case.out), case.open().activations, case.open().stream)
    with monkeypatch.context() as patch:
        patch.setattr(fired, "active", None)  # nothing is encoded
        ours = all_fired(case, opened(case)[1])
    (case.out / codes_json(1)).unlink()
    in_part = all_fired(case, opened(case)[1])
    shutil.rmtree(case.out / CODES)
    theirs = all_fired(case, none)
    assert len(ours[0]) > 50
    for found in (in_part, theirs):
        for one, other in zip(ours, found, strict=True):
            require_same(one, other)


def test_evaluations_get_the_same_from_them_as_from_encoding_again(case, monkeypatch):
    inputs, kept = opened(case)
    monkeypatch.setattr(firing, "PART", BLOCK)
    ours, theirs, n = Seen(), Seen(), []
    with monkeypatch.context() as patch:
        patch.setattr(firing, "active", None)
        firing.look(inputs, [ours], n.append, kept)
    firing.look(inputs, [theirs])
    assert sum(n) == 600
    require_same(ours.steps, theirs.steps)


def again(case, number, **changes):
    """Make a part again."""
    shutil.rmtree(case.out / f"scratch-{number}")
    case.settings = case.settings.model_copy(update=changes)
    case.part(number, BLOCK)


def test_a_part_that_needs_more_than_its_share_keeps_none_and_says_so(tmp_path, said):
    case = Case(tmp_path, vectors(600), {}, absent=ABSENT)
    case.analyse()
    _, kept = opened(case)
    n_images = np.array([256, 256, 88])
    needs = [kept.part(n).entries.nbytes + kept.part(n).counts.nbytes for n in range(3)]
    of_image = sorted(needs / n_images)
    assert of_image[0] < of_image[1]
    enough_for_one = 600 * (of_image[0] + of_image[1]) / 2 / 2**30
    for number in range(3):
        again(case, number, codes_gib=enough_for_one)
    there = [(case.out / codes_json(n)).exists() for n in range(3)]
    assert there == (needs / n_images == of_image[0]).tolist()
    assert len([*(case.out / CODES).iterdir()]) == 3
    assert said().count("keeps no codes: they need") == 2
    again(case, there.index(True), codes_gib=0.0)
    assert not [*(case.out / CODES).iterdir()]
    assert said().count("keeps no codes: they need") == 2


def test_a_part_that_is_made_again_and_killed_leaves_no_codes_of_before(case, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(parts, "accumulate", killed)
        with pytest.raises(KeyboardInterrupt):
            again(case, 1)
    assert [n for n in range(3) if (case.out / codes_json(n)).exists()] == [0, 2]
    before = (case.out / codes_entries(0)).read_bytes()
    again(case, 0)
    assert (case.out / codes_entries(0)).read_bytes() == before


def flip(path):
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)


def told(case, **changes):
    path = case.out / codes_json(1)
    write_json(path, read_json(path) | changes)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda case: flip(case.out / codes_entries(1)), "00001.entries.npy has another SHA-256"),
        (lambda case: flip(case.out / codes_counts(1)), "00001.counts.npy has another SHA-256"),
        (lambda case: (case.out / codes_counts(1)).write_bytes(b""), "has 0 bytes, not"),
        (lambda case: (case.out / codes_entries(1)).unlink(), "00001.entries.npy is missing"),
        (lambda case: (case.out / codes_json(1)).write_text("{"), "is not JSON"),
        (lambda case: (case.out / codes_json(1)).write_text("[1]"), "something else"),
        (lambda case: told(case, files=[]), "something else"),
        (lambda case: told(case, files=None), "something else"),
        (lambda case: told(case, format=99), "something else"),
        (lambda case: told(case, stop=511), "something else"),
        (lambda case: told(case, inputs={"train": "0", "activations": "0"}), "something else"),
        (
            lambda case: shutil.copy(case.out / codes_json(0), case.out / codes_json(1)),
            "something else",
        ),
    ],
)
def test_damaged_codes_are_not_read_but_encoded_again(case, said, harm, reason):
    harm(case)
    _, kept = opened(case)
    assert kept.part(1) is None is kept.part(1)
    assert said().count("the codes of part 1 aren't used, so it is encoded again: ") == 1
    assert reason in said()


def test_parts_that_keep_no_codes_are_counted_in_one_line(case, said):
    opened(case)
    assert "codes" not in said()
    for number in (0, 2):
        (case.out / codes_json(number)).unlink()
    _, kept = opened(case)
    assert [kept.part(number) is None for number in range(3)] == [True, False, True]
    assert said().count("codes") == 1
    assert "2 of 3 parts keep no codes: their images are encoded again" in said()


def test_a_latent_takes_two_bytes_up_to_65536_of_them_and_four_beyond(tmp_path):
    for n, size in ((65_536, 6), (65_537, 8)):
        entries = np.zeros(3, entry_type(n))
        assert entries.dtype.itemsize == size
        entries["latent"] = n - 1
        array = GrowingArray(tmp_path / "a.npy", entries.dtype)
        array.add(entries[:2])
        array.add(entries[2:])
        array.finish()
        assert (np.load(tmp_path / "a.npy")["latent"] == n - 1).all()


def test_an_array_that_grew_is_that_which_numpy_would_have_written(tmp_path):
    for n in (0, 1, 1 << 17):
        values = np.arange(2 * n, dtype=np.uint32)
        array = GrowingArray(tmp_path / "a.npy", values.dtype)
        array.add(values)
        array.finish(2)
        np.save(tmp_path / "b.npy", values.reshape(-1, 2))
        assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


@pytest.mark.slow
def test_a_page_has_the_same_bytes_with_and_without_them(
    built, changed, tmp_path, monkeypatch, said
):
    monkeypatch.chdir(built.folder)  # where its images lie
    (path,) = changed.glob("patches-*/named-*")
    pages = []
    for name in ("kept", "encoded"):
        out, state = tmp_path / name, tmp_path / f"{name}-state"
        out.mkdir()
        state.mkdir()
        build(
            out,
            state,
            analysis=Analysis(path),
            sae_folder=path.parent,
            activations=Activations(changed),
            images=Images(changed.parent),
            evaluation=None,
            others=[],
            credit=None,
            threads=1,
            device=torch.device("cpu"),
        )
        assert ("1 of 1 parts keep no codes" in said()) == (name == "encoded")
        files = sorted(file for file in out.rglob("*") if file.is_file())
        pages.append({str(file.relative_to(out)): file.read_bytes() for file in files})
        shutil.rmtree(path / CODES, ignore_errors=True)
    assert any(name.startswith("data/heat/") for name in pages[0])
    assert pages[0] == pages[1]
