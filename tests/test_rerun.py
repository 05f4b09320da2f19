"""Each edit reruns exactly what it affects: the tree is edited, and a dry run is read."""

import json
import os
import shutil
import subprocess

import pytest
from project import Project

pytestmark = pytest.mark.slow

RECORD = {"record_shard": 2, "seal_activations": 1}
TRAIN = {"train_sae": 2}
LABEL = {"label_images": 1}
ANALYZE = {"analyze_shards": 2, "merge_analysis": 2}
PAGES = {"build_dashboard": 2, "finish_page": 2}
GALLERY = {"build_gallery": 1, "gallery": 1}
AFTER_ANALYSIS = {**ANALYZE, **PAGES, **GALLERY}
# Which image has which label depends on neither a tower nor a dictionary.
AFTER_LABELS = {**LABEL, **AFTER_ANALYSIS}
AFTER_TRAINING = {**TRAIN, **AFTER_ANALYSIS}
AFTER_RECORDING = {**RECORD, **AFTER_TRAINING}
ALL = {"list_images": 1, **LABEL, **AFTER_RECORDING}


@pytest.fixture(scope="module")
def project(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rerun") / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    return Project(folder)


@pytest.fixture
def edit(project):
    """Edit a file of the project for the length of a test."""
    kept = {}

    def change(name, old, new):
        path = project.folder / name
        text = path.read_text()
        kept.setdefault(path, text)
        assert old in text, f"{old!r} isn't in {name}"
        path.write_text(text.replace(old, new, 1))

    yield change
    for path, text in kept.items():
        path.write_text(text)


def reconfigure(project, path, value):
    settings = project.settings()
    *parents, last = path.split("/")
    place = settings
    for key in parents:
        place = place[key]
    place[last] = value
    project.configure(settings)


@pytest.fixture
def configure(project):
    """Change one setting for the length of a test."""
    before = (project.folder / "config.yaml").read_text()
    yield lambda path, value: reconfigure(project, path, value)
    (project.folder / "config.yaml").write_text(before)


def test_nothing_reruns_when_nothing_changed(project):
    assert project.planned() == {}


def test_comments_docstrings_and_formatting_rerun_nothing(project, edit):
    edit("saev/analyze/__main__.py", '"""', '"""Other words first. ')
    edit(
        "saev/core/files.py",
        "def sha256_bytes(data: bytes | memoryview)",
        "# why\n\n\ndef sha256_bytes(\n    data: bytes | memoryview,\n)",
    )
    edit("rules/train.smk", "# Its", "# All its")
    assert project.planned() == {}


HARMLESS = (
    ("saev/activations/recording.py", "Fix or remove them, or", "Fix them, or"),
    ("saev/activations/seal.py", 'logs.say(f"sealed {out}', 'logs.say(f"done: sealed {out}'),
    ("saev/train/__main__.py", 'help="directory of the dictionary"', 'help="where it goes"'),
    ("saev/core/errors.py", "limit: int = 20", "limit: int = 30"),
    ("saev/core/locks.py", "import time\n", "import time\n\nCHANGED = 1\n"),
    ("saev/core/logs.py", "import logging\n", "import logging\n\nCHANGED = 1\n"),
    ("saev/core/progress.py", "LOG_SECONDS = 20.0", "LOG_SECONDS = 30.0"),
    ("saev/core/provenance.py", '"numpy", ', '"numpy", "wandb", '),
    ("saev/train/learning_plot.py", "dpi=120", "dpi=150"),
    ("saev/train/sink.py", "IDLE = 1000", "IDLE = 2000"),
    ("saev/tools/estimate.py", "import os\n", "import os\n\nCHANGED = 1\n"),
)


def test_what_cannot_change_a_byte_reruns_nothing(project, edit):
    for name, old, new in HARMLESS:
        edit(name, old, new)
    assert project.planned() == {}


def test_how_often_a_curve_is_written_down_reruns_nothing(project, configure):
    configure("sae/cls/log_every", 3)
    configure("sae/patches/eval_every", 7)
    assert project.planned() == {}


def test_touching_every_source_reruns_nothing(project):
    for name in ("saev", "rules", "demo", "Snakefile", "config.yaml"):
        path = project.folder / name
        for file in [path, *path.rglob("*")]:
            os.utime(file)
    assert project.planned() == {}


def test_a_fresh_checkout_of_the_sources_reruns_nothing(project):
    for name in ("saev", "rules"):
        path = project.folder / name
        aside = path.with_suffix(".aside")
        path.rename(aside)
        shutil.copytree(aside, path, copy_function=shutil.copyfile)
        shutil.rmtree(aside)
    assert project.planned() == {}


def test_cores_device_and_decoding_threads_rerun_nothing(project, configure):
    configure("compute", {"device": "cpu", "threads": 2, "workers": 0})
    assert project.planned("--cores", "1") == {}


def test_what_to_do_with_bad_images_reruns_nothing(project, configure):
    configure("images/pets/on_bad_image", "skip")
    assert project.planned() == {}


def test_the_learning_rate_reruns_training_and_after_in_a_new_directory(project, configure):
    before = project.results()
    configure("sae/cls/lr", 0.001)
    one = {
        "train_sae": 1,
        "analyze_shards": 1,
        "merge_analysis": 1,
        "build_dashboard": 1,
        "finish_page": 1,
        **GALLERY,
    }
    assert project.planned() == one
    assert project.results() == before
    reconfigure(project, "sae/cls/lr", 0.003)
    assert project.planned() == {}


def test_a_point_added_to_a_sweep_plans_that_point_alone(project, configure):
    one = project.settings()["sae"]["cls"]
    configure("train", {"together": True})
    assert project.planned() == {}
    swept = {k: v for k, v in one.items() if k not in ("k", "lr")}
    configure("sae/cls", {**swept, "sweep": {"k": [4, 6], "lr": [0.003]}})
    point = {
        "train_sae": 1,
        "analyze_shards": 1,
        "merge_analysis": 1,
        "build_dashboard": 1,
        "finish_page": 1,
        **GALLERY,
    }
    of_all = {"show_sweeps": 1}
    assert project.planned() == {name: 2 * n for name, n in point.items()} | GALLERY | of_all
    project.snakemake("--cores", "1")
    made = sorted(project.folder.glob("results/*/*/cls.k-*/run.json"))
    by = {json.loads(path.read_text())["trained_by"] for path in made}
    assert (len(made), len(by)) == (2, 1)  # one job has trained both
    assert project.planned() == {}
    text = (project.folder / "results/index.html").read_text()
    assert '"frontiers":[{' in text.replace(" ", "")
    assert "Recommended: the knee" in text
    configure("sae/cls", {**swept, "sweep": {"k": [4, 6, 8], "lr": [0.003]}})
    assert project.planned() == point | of_all
    # The page of all runs shows those of the other tests again.
    configure("sae/cls", one)
    project.snakemake("--cores", "1")
    assert project.planned() == {}


def test_a_statement_of_the_analysis_reruns_analysis_and_after(project, edit):
    edit("saev/analyze/__main__.py", "def main(", "CHANGED = 1\n\n\ndef main(")
    assert project.planned() == AFTER_ANALYSIS


def test_a_statement_that_reads_labels_reruns_labels_and_analysis(project, edit):
    edit("saev/labels/join.py", "import csv\n", "import csv\n\nCHANGED = 1\n")
    assert project.planned() == AFTER_LABELS


def test_a_statement_of_the_trainer_reruns_training_and_after(project, edit):
    edit("saev/train/__main__.py", "def main(", "CHANGED = 1\n\n\ndef main(")
    assert project.planned() == AFTER_TRAINING


def test_a_statement_of_the_recording_reruns_it_and_after(project, edit):
    edit("saev/activations/towers/tower.py", "import torch\n", "import torch\n\nCHANGED = 1\n")
    assert project.planned() == AFTER_RECORDING


@pytest.mark.parametrize("pattern", ["*.html", "*.js", "*.css"])
def test_a_file_of_the_page_reruns_dashboard_and_gallery(project, edit, pattern):
    asset = sorted((project.folder / "saev/dashboard/assets").glob(pattern))[0]
    text = asset.read_text()
    edit(str(asset.relative_to(project.folder)), text, text + "\n")
    assert project.planned() == {**PAGES, **GALLERY}


def test_a_module_that_all_import_reruns_all(project, edit):
    edit("saev/core/files.py", "CHUNK = 1 << 20", "CHUNK = 1 << 21")
    assert project.planned() == ALL


def test_an_image_added_makes_a_new_directory_and_leaves_the_old(project):
    before = project.results()
    added = project.folder / "pictures/cat/zzz.png"
    shutil.copy(project.folder / "pictures/cat/0000.png", added)
    try:
        assert project.planned() == ALL
        assert project.results() == before
    finally:
        added.unlink()
    assert project.planned() == {}


def test_a_corrected_label_analyzes_again_in_a_new_directory(project, edit):
    before = project.results()
    edit("sites.csv", "cat/0000.png,south", "cat/0000.png,north")
    assert project.planned() == AFTER_LABELS
    assert project.results() == before


def test_a_settings_field_at_its_neutral_value_reruns_nothing(project, edit):
    edit(
        "saev/settings/vit.py",
        "    image_size: int | None",
        '    new_field: int = Field(0, description="New.")\n    image_size: int | None',
    )
    assert project.planned() == {}


def test_the_credit_of_the_images_reruns_the_pages_alone(project, configure):
    configure("images/pets/credit", "someone else")
    assert project.planned() == {**PAGES, **GALLERY}


def test_without_the_records_of_snakemake_nothing_reruns(project):
    records, aside = project.folder / ".snakemake", project.folder / ".snakemake-aside"
    records.rename(aside)
    try:
        assert project.planned() == {}
    finally:
        shutil.rmtree(records, ignore_errors=True)
        aside.rename(records)


def test_an_entry_and_its_directory_can_be_renamed(project, configure):
    tower = project.settings()["vit"].pop("tiny")
    configure("vit", {"small": tower})
    configure("runs", [{**run, "vit": "small"} for run in project.settings()["runs"]])
    said = project.snakemake("--dry-run").stderr
    (former,) = (project.folder / "results").glob("pets-*/tiny-*")
    renamed = former.with_name(former.name.replace("tiny", "small"))
    places = (path.relative_to(project.folder) for path in (former, renamed))
    assert " ".join(map(str, ["mv", *places])) in said
    former.rename(renamed)
    try:
        assert project.planned() == GALLERY
    finally:
        renamed.rename(former)


def test_one_stage_can_be_forced(project):
    assert project.planned("--forcerun", "build_dashboard") == {**PAGES, **GALLERY}


def test_the_code_of_what_lies_beside_pages_reruns_that_alone(project, edit):
    edit("saev/dashboard/tsne.py", "def places(", "CHANGED = 1\n\n\ndef places(")
    edit("saev/dashboard/given_names.py", "def write_given(", "CHANGED = 1\n\n\ndef write_given(")
    assert project.planned() == {"finish_page": 2, "gallery": 1}


def test_a_code_change_can_be_accepted_without_running(project, edit, built, tmp_path):
    edit("saev/train/__main__.py", "def main(", "CHANGED = 1\n\n\ndef main(")
    before = project.results()
    project.snakemake("--touch")
    assert project.planned() == {}
    assert project.results() == before
