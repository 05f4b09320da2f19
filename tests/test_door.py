"""The way in for programs: what it reads is what was written."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from analysed import Case, cycling, vectors, write_images
from project import python
from safetensors.numpy import load_file

import saev
from saev.analyze.artifact import Analysis
from saev.api.explorer import _largest_of
from saev.core.errors import UserError
from saev.dashboard.gallery import strips
from saev.sae import Sae

ABSENT = (0, 7, 300, 511)
N = 600


def opened(folder, patches=0, **more):
    """An analysis of synthetic activations, and the run that it is."""
    labels = {"kind": cycling(N, "a", None, "b"), "row": cycling(N, "x")}
    case = Case(folder, vectors(N, patches=patches), labels, absent=ABSENT, **more)
    case.analyse()
    write_images(folder, [f"{i:04}.png" for i in range(N)])
    return case, saev.open_run(case.out)


@pytest.fixture(scope="module", params=[0, 5], ids=["cls", "patches"])
def case_and_run(request, tmp_path_factory):
    return opened(tmp_path_factory.mktemp("case"), request.param, dtype="float16")


def test_importing_saev_imports_nothing_heavy():
    heavy = "'torch', 'numpy', 'pandas', 'PIL', 'pyarrow', 'pydantic'"
    assert python(f"import saev, sys; print(sys.modules.keys() & {{{heavy}}})") == "set()\n"


def test_the_tables_of_a_run_are_read_without_torch(case_and_run):
    case, run = case_and_run
    code = (
        "import saev, sys; run = saev.open_run(sys.argv[1]); run.labels, run.settings, "
        "run.summary; print(len(run.latents), len(run.top_images(5)), '24' in repr(run) + "
        "run._repr_html_(), 'torch' in sys.modules)"
    )
    assert python(code, case.out) == f"{len(run.latents)} {len(run.top_images(5))} True False\n"


def test_a_name_that_saev_does_not_offer_is_no_attribute():
    with pytest.raises(AttributeError, match="'explore'"):
        saev.explore  # noqa: B018
    assert set(saev.__all__) <= set(dir(saev))
    assert all(callable(getattr(saev, name)) for name in saev.__all__)


def test_a_dictionary_is_loaded_from_its_directory_its_file_or_a_run(case_and_run):
    case, run = case_and_run
    page = case.out / "dashboard/index.html"
    files = (case.sae, str(case.sae / "checkpoint.safetensors"))
    for path in (*files, run, case.out, str(case.out), page, page.parent):
        sae = saev.load(path)
        assert isinstance(sae, Sae)
        assert not sae.training
        x = torch.from_numpy(vectors(5, sae.d))
        assert torch.equal(sae.encode(x), run.sae.encode(x))
        assert sae.decode(sae.encode(x)).shape == x.shape


def test_a_run_is_opened_by_its_page_too(case_and_run):
    case, run = case_and_run
    for path in (case.out / "dashboard", str(case.out / "dashboard/index.html")):
        assert saev.open_run(path).path == run.path


def test_a_run_whose_dictionary_was_made_again_gives_none(tmp_path):
    case, run = opened(tmp_path / "images")
    meta = case.sae / "meta.json"
    meta.write_text(meta.read_text() + "\n")
    for given in (run, case.out):
        with pytest.raises(UserError, match="wasn't made from the result of the stage train"):
            saev.load(given)
    saev.load(case.sae)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("latents.parquet", lambda run: run.latents),
        ("latents.safetensors", lambda run: run.top_images(5)),
        ("latents.safetensors", lambda run: _largest_of(run.path)),
        ("latents.parquet", lambda run: strips(Analysis(run.path))),
        ("latents.safetensors", lambda run: Analysis(run.path).latents()),
    ],
)
def test_a_bit_that_flipped_in_an_analysis_is_never_read_as_a_figure(case_and_run, name, read):
    path = case_and_run[0].out / name
    whole = path.read_bytes()
    read(saev.open_run(path.parent))
    damaged = bytearray(whole)
    damaged[len(whole) // 3] ^= 1
    path.write_bytes(damaged)
    try:
        with pytest.raises(UserError, match=f"{name} has another SHA-256"):
            read(saev.open_run(path.parent))
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("given", [None, 3, {}])
def test_what_is_neither_a_run_nor_a_path_is_refused(given):
    for opener in (saev.load, saev.open_run, saev.Explorer):
        with pytest.raises(UserError, match=r"give a run, or the path of one .*, not a"):
            opener(given)


def test_the_tables_of_a_run_are_those_of_its_files(case_and_run):
    case, run = case_and_run
    table = pd.read_parquet(case.out / "latents.parquet")
    assert run.latents.index.name == "latent"
    pd.testing.assert_frame_equal(run.latents.reset_index(), table)
    assert run.labels.index.tolist() == list(range(N))
    assert run.labels["label.kind"].fillna("-").tolist() == cycling(N, "a", "-", "b")
    assert run.settings["analysis"] == case.settings.essential()
    assert run.settings["sae"]["n_latents"] == run.summary["n_latents"] == 24


def test_top_images_are_the_entries_that_exist_best_first(case_and_run):
    case, run = case_and_run
    tensors = load_file(case.out / "latents.safetensors")
    for latent in range(run.summary["n_latents"]):
        top = run.top_images(latent)
        there = tensors["top_rows"][latent] >= 0
        assert top.row.tolist() == tensors["top_rows"][latent][there].tolist()
        assert np.array_equal(top.value, tensors["top_values"][latent][there])
        assert top.key.tolist() == [f"{row:04}.png" for row in top.row]
        kinds = [case.labels["kind"][row] or "none" for row in top.row]
        assert top["label.kind"].fillna("none").tolist() == kinds
        if case.values.ndim == 3:
            assert top.patch.tolist() == tensors["top_patches"][latent][there].tolist()
        else:
            assert top.patch.isna().all()
    assert len(run.top_images(0)) == 0
    columns = ["row", "key", "value", "patch", "label.kind", "label.row"]
    assert list(run.top_images(0).columns) == columns
    assert run.top_images(0).dtypes.equals(run.top_images(5).dtypes)


def test_activations_are_read_by_position_and_by_row(case_and_run):
    case, run = case_and_run
    x = run.activations()
    stored = case.values.astype(np.float16).astype(np.float32)
    present = np.delete(stored, ABSENT, axis=0)
    assert (len(x), x.shape, x.dtype) == (len(present), present.shape, np.float32)
    assert x.rows.tolist() == [row for row in range(N) if row not in ABSENT]
    mask = x.rows % 50 == 1
    keys = (3, -1, np.int64(9), slice(250, 310), slice(None), slice(None, None, -7), slice(5, 5))
    for key in (*keys, [5, 590, 5, -2], np.array([], int), mask, np.array([[1, 2], [3, 4]])):
        assert np.array_equal(x[key], present[key])
        assert x[key].dtype == np.float32
    assert np.array_equal(x.take([301, 1]), stored[[301, 1]])
    assert sum(1 for _ in x) == len(x)
    with pytest.raises(IndexError):
        x[len(x)]
    with pytest.raises(UserError, match="no activations of row 7"):
        x.take([7])


def test_activations_that_were_not_recorded_are_refused_with_what_was(case_and_run):
    _, run = case_and_run
    for wanted in ({"layer": 0}, {"tokens": "pooled"}, {"layer": 7, "tokens": "cls"}):
        with pytest.raises(UserError, match=r"holds no .*it holds: layer-01\."):
            run.activations(**wanted)
    assert run.activations(layer=-1).shape == run.activations().shape


@pytest.mark.parametrize("latent", [24, -1, 1.0, "3"])
def test_a_latent_out_of_range_is_refused(case_and_run, latent):
    with pytest.raises(UserError, match=r"no latent|a whole number"):
        case_and_run[1].top_images(latent)


def test_a_run_of_other_images_speaks_of_those(tmp_path):
    _, here = opened(tmp_path / "results/mine-1")
    there = tmp_path / "results/theirs-2"
    shutil.copytree(tmp_path / "results/mine-1", there)
    write_images(there, [f"theirs {i}" for i in range(N)])
    meta = here.path / "meta.json"
    value = json.loads(meta.read_text())
    value["settings"]["on"] = "theirs-2"
    meta.write_text(json.dumps(value))
    run = saev.open_run(here.path)
    assert run.top_images(5).key[0].startswith("theirs")
    assert str(there / "vit") in repr(run.activations(1, "cls"))


def test_paths_that_hold_no_run_are_refused_with_what_does(case_and_run, tmp_path):
    case, _ = case_and_run
    half = tmp_path / "half"
    half.mkdir()
    for opener in (saev.open_run, saev.Explorer):
        with pytest.raises(UserError, match=r"there is no directory .*nowhere.*results/\{images\}"):
            opener(tmp_path / "nowhere")
        with pytest.raises(UserError, match=r"half isn't complete: it has no meta\.json"):
            opener(half)
    with pytest.raises(UserError, match="isn't a run: name the directory of an analysis"):
        saev.open_run(case.sae)
    for opener in (saev.load, saev.Explorer):
        with pytest.raises(UserError, match=r"neither a run .* nor a dictionary"):
            opener(case.activations)
    with pytest.raises(UserError, match="nowhere is missing"):
        saev.load(tmp_path / "nowhere")


def test_a_run_that_is_half_there_opens_and_says_what_is_missing(tmp_path):
    case, _ = opened(tmp_path / "images")
    (case.sae / "checkpoint.safetensors").rename(tmp_path / "kept")
    (tmp_path / "images/manifest.parquet").unlink()
    run = saev.open_run(case.out)
    assert len(run.latents) == 24
    for look in (lambda: run.sae, run.activations):
        with pytest.raises(UserError, match=r"checkpoint\.safetensors is missing: train"):
            look()
    assert run.activations(1, "cls").shape == (N - len(ABSENT), 10)
    with pytest.raises(UserError, match=r"manifest\.parquet is missing"):
        run.top_images(5)
    (case.out / "latents.parquet").unlink()
    with pytest.raises(UserError, match=r"latents\.parquet is missing"):
        saev.open_run(case.out)


def test_results_that_were_made_again_are_not_mixed_with_older_ones(tmp_path):
    case, run = opened(tmp_path / "images")
    meta = case.sae / "meta.json"
    meta.write_text(meta.read_text() + "\n")
    with pytest.raises(UserError, match="wasn't made from the result of the stage train"):
        _ = run.sae
    meta = case.activations / "meta.json"
    meta.write_text(meta.read_text() + "\n")
    with pytest.raises(UserError, match="wasn't made from the result of the stage activations"):
        run.activations(1, "cls")
    with pytest.raises(UserError, match="wasn't made from the result of the stage activations"):
        saev.Explorer(case.sae)


def test_a_newer_format_is_refused(tmp_path):
    case, _ = opened(tmp_path / "images")
    for path in (case.out / "meta.json", case.sae / "meta.json"):
        path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    for look in (lambda: saev.open_run(case.out), lambda: saev.load(case.sae)):
        with pytest.raises(UserError, match="format 2; this saev reads up to 1: use a newer"):
            look()
