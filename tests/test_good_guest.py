"""saev is a good guest: it changes nothing in a program that uses it, and uses nothing private of
libraries."""

import ast
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from subprocess import run

import datasets
import numpy as np
import torch
from analysed import TOPK, cycling, write_labels, write_sae
from PIL import Image
from project import ROOT
from recording import list_images, record, settings, write_pictures
from safetensors.torch import save_file

from saev.activations.towers.tower import load_tower
from saev.analyze.inputs import open_inputs
from saev.analyze.merge import write_merged
from saev.analyze.ordered import in_order, one_thread
from saev.analyze.parts import write_part
from saev.core.blocks import BLOCK
from saev.core.files import sha256_file
from saev.core.spec import parsed
from saev.labels.artifact import labels_folder
from saev.settings.analysis import AnalysisResolved, AnalysisSettings
from saev.settings.labels import LabelSettings
from saev.settings.vit import VitSettings


def analysed(folder):
    """A tiny run with all that lies before it; its tower sees a larger input than its weights were
    made for."""
    write_pictures(folder / "pictures", 70)
    vit = settings(folder)
    weights = folder / "tower.safetensors"
    save_file(load_tower(parsed(VitSettings, vit)).backbone.module.state_dict(), weights)
    vit |= {"weights": str(weights), "weights_sha256": sha256_file(weights), "image_size": 64}
    listed = list_images(folder / "pictures", folder / "results/pets")
    reader = record(listed, listed / "vit", vit, range(1))
    sae = write_sae(reader.path / "sae", reader.path, "layer-00.patches", TOPK)
    out = sae / "analysis"
    given = AnalysisSettings(labels={"kind": LabelSettings(folder=True)}, top_images=4)
    inputs = open_inputs(
        settings=given,
        sae_folder=sae,
        activations_folder=reader.path,
        labels=write_labels(
            labels_folder(listed, given.essential()["labels"]), 70, {"kind": cycling(70, "a", "b")}
        ),
        device=torch.device("cpu"),
    )
    (out / "scratch").mkdir(parents=True)
    write_part(inputs, given, 0, out, out / "scratch", BLOCK)
    write_merged(inputs, given, AnalysisResolved(), 1, out, out, BLOCK)
    return out


def test_a_program_finds_all_that_is_its_own_as_it_was(tmp_path):
    image = Image.fromarray(np.zeros((9, 9, 3), np.uint8))
    table = datasets.Dataset.from_dict({"image": [image] * 3}).cast_column(
        "image", datasets.Image()
    )
    table.to_parquet(tmp_path / "table.parquet")
    done = run(
        [sys.executable, ROOT / "tests/guest.py", analysed(tmp_path), tmp_path / "table.parquet"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_DATASETS_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_the_switches_of_precision_are_put_back_whoever_has_set_them_and_how():
    # GPUs aren't needed: the switches are there without.
    done = run(
        [sys.executable, ROOT / "tests/precisions.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def born():
    """How many threads PyTorch gives to a thread that asks for the first time."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


def test_a_thread_that_computes_alone_leaves_the_number_of_others_alone():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with ThreadPoolExecutor(1) as other:
            assert other.submit(torch.get_num_threads).result() == 3
            with one_thread() as threads:
                assert threads == 3
                numbers = in_order(lambda _: torch.get_num_threads(), range(4), 2)
                assert [n for _, n in numbers] == [1] * 4
                assert torch.get_num_threads() == 1
                assert other.submit(torch.get_num_threads).result() == born() == 3
        assert torch.get_num_threads() == born() == 3
    finally:
        torch.set_num_threads(before)


def test_towers_need_no_private_name_of_their_libraries():
    found = []
    for path in sorted((ROOT / "saev/activations/towers").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            names = []
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
                names = [node.attr]
            elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith("saev"):
                names = [*str(node.module).split("."), *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [part for alias in node.names for part in alias.name.split(".")]
            private = [n for n in names if n.startswith("_") and not n.endswith("__")]
            found += [f"{path.name}:{node.lineno} {n}" for n in private]
    assert found == []
