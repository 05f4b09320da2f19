"""The workflow as its user meets it: errors, dry runs, results, records."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from project import ROOT, Project, config
from safetensors.numpy import load_file

from saev.core.locks import Lock

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project.create(tmp_path_factory.mktemp("workflow") / "project", n_images=90)


def refused(project, *arguments):
    """Run a workflow that must refuse; return what it said."""
    done = project.snakemake(*arguments, check=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in text
    return text


def with_settings(project, change):
    settings = config()
    change(settings)
    project.configure(settings)


def test_a_misspelt_setting_is_refused_when_the_workflow_is_parsed(project):
    with_settings(project, lambda s: s["sae"]["cls"].update(lerning_rate=1, epoch=3))
    text = refused(project, "-n")
    assert "sae.cls.epoch: unknown key of architecture topk; did you mean 'epochs'?" in text
    assert "sae.cls.lerning_rate: unknown key" in text


def test_a_layer_that_the_tower_does_not_have_is_refused(project):
    def change(settings):
        settings["vit"]["tiny"]["layers"] = [1, 2]

    with_settings(project, change)
    assert "vit.tiny.layers: 2 is out of range: tower.json has 2 blocks" in refused(project, "-n")


def test_a_missing_weights_file_is_refused(project):
    with_settings(project, lambda s: s["vit"]["tiny"].update(weights="gone.safetensors"))
    assert "vit.tiny.weights: there is no file gone.safetensors" in refused(project, "-n")


def test_a_folder_that_is_empty_or_gone_is_refused(project):
    with_settings(project, lambda s: s["images"]["pets"].update(folder="nowhere"))
    assert "nowhere" in refused(project, "-n")
    (project.folder / "empty").mkdir(exist_ok=True)
    with_settings(project, lambda s: s["images"]["pets"].update(folder="empty"))
    assert "empty" in refused(project, "-n")


def test_unwritable_results_are_refused(project):
    with_settings(project, lambda s: None)
    (project.folder / "results").mkdir(exist_ok=True)
    (project.folder / "results").rename(project.folder / "aside")
    (project.folder / "results").write_text("a file, not a folder")
    try:
        assert "can't write" in refused(project)
    finally:
        (project.folder / "results").unlink()
        (project.folder / "aside").rename(project.folder / "results")


def test_a_dry_run_on_imagenet_sized_settings_needs_no_data(project):
    def change(settings):
        settings["images"]["pets"] = {
            "folder": "/data/imagenet/train",
            "n_images": 1_281_167,
            "version": "ilsvrc2012",
        }
        settings["vit"]["tiny"] = {
            "model": "ViT-L-14",
            "weights": "openai",
            "layers": [-2],
            "tokens": ["cls"],
            "shard_images": 16384,
        }
        settings["sae"] = {"cls": {**settings["sae"]["cls"], "layer": -2}}
        settings["analysis"]["named"]["labels"] = {"wnid": {"folder": True}}
        settings["runs"] = settings["runs"][:1]

    with_settings(project, change)
    planned = project.planned()
    assert planned["record_shard"] == 79
    assert planned["train_sae"] == 1


def test_a_dry_run_names_every_job(project):
    with_settings(project, lambda settings: None)
    said = project.snakemake("--dry-run").stderr
    for dictionary in ("cls", "patches"):
        for line in ("training {} (pets/tiny) …", "merging named (pets/tiny/{}) …"):
            assert said.count(line.format(dictionary)) == 1


def test_a_dry_run_whose_output_nobody_reads_ends_without_a_traceback(project):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        project.command("--dry-run"),
        cwd=project.folder,
        env=project.environment(),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.returncode == -signal.SIGPIPE
    assert "Traceback" not in done.stderr


def test_a_training_asks_for_a_gpu_and_for_memory_for_each_of_its_processes(project):
    def change(settings):
        settings["compute"]["device"] = "cuda"
        settings["sae"]["cls"]["processes"] = 2
        settings["runs"] = settings["runs"][:1]

    with_settings(project, change)
    # The profile of a workstation has one GPU, to which requests are cut.
    options = ("--dry-run", "--forceall", "--quiet", "host", "--resources", "gpu=8")
    printed = project.snakemake(*options).stdout

    def asked(resource):
        pattern = rf"^rule (\w+):\n(?:    .*\n)*?    resources: .*?\b{resource}=(\d+)"
        return dict(re.findall(pattern, printed, re.M))

    single = ("record_shard", "analyze_shards", "merge_analysis", "build_dashboard")
    assert asked("gpu") == dict.fromkeys(single, "1") | {"train_sae": "2"}
    assert asked("mem_mb")["train_sae"] == "32000"


def test_a_job_that_is_tried_again_asks_for_more_memory_and_time(tmp_path):
    project = Project.create(tmp_path / "project", n_images=90)
    broken = "raise MemoryError\n"
    (project.folder / "saev/images/__main__.py").write_text(broken)
    arguments = ("images", "--quiet", "host", "--retries", "1")
    done = project.snakemake(*arguments, check=False)
    printed = done.stdout + done.stderr
    asked = (
        re.findall(r"resources: .*?runtime=(\d+)", printed),
        re.findall(r"mem_mb=(\d+)", printed),
    )
    assert asked == (["60", "120"], ["2000", "4000"])


def test_a_users_mistake_is_not_tried_again(project):
    def change(settings):
        settings["images"]["pets"] |= {"n_images": 7, "version": "wrong"}
        settings["sae"]["cls"]["batch_size"] = 5
        settings["runs"] = settings["runs"][:1]

    with_settings(project, change)
    done = project.snakemake("images", "--retries", "1", check=False)
    printed = done.stdout + done.stderr
    assert printed.count("listing the images of pets …") == 1
    assert printed.count("error: ") == 1
    assert "  not tried again: it needs you" in printed


def test_parsing_the_workflow_imports_no_torch():
    code = (
        "import sys, yaml; from saev.workflow.plan import resolve\n"
        "resolve(yaml.safe_load(open('config.yaml')))\n"
        "print([m for m in ('torch', 'open_clip', 'timm', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_bad_images_are_all_named_and_can_be_skipped_and_counted(project):
    with_settings(project, lambda s: None)
    for name in ("cat/0003.png", "dog/0004.png"):
        (project.folder / "pictures" / name).write_bytes(b"no picture")
    text = refused(project)
    logs = "".join(p.read_text() for p in project.folder.glob("logs/**/record_shard*.log"))
    for name in ("cat/0003.png", "dog/0004.png", "images.pets.on_bad_image to skip"):
        assert name in text
        assert name in logs
    with_settings(project, lambda s: s["images"]["pets"].update(on_bad_image="skip"))
    project.snakemake()
    (vit,) = (project.folder / "results").glob("pets-*/tiny-*")
    records = pq.read_table(vit / "images.parquet").to_pydict()
    assert sum(reason is not None for reason in records["skipped"]) == 2
    summaries = [json.loads(p.read_text())["summary"] for p in vit.glob("*/named-*/meta.json")]
    assert [summary["n_skipped"] for summary in summaries] == [2, 2]
    assert [summary["all"]["n_images"] for summary in summaries] == [88, 88]


def test_a_finished_run_is_complete_and_says_what_made_it(built):
    results = built.folder / "results"
    metas = sorted(results.rglob("meta.json"))
    assert [json.loads(p.read_text())["stage"] for p in metas].count("analyze") == 2
    for path in metas:
        run = json.loads((path.parent / "run.json").read_text())
        assert {"code", "versions", "host", "seconds", "peak_memory_bytes"} <= set(run)
    assert (results / "index.html").exists()
    assert not list(results.rglob(".state"))
    assert not list(results.rglob("*.tmp"))
    done = built.python("-m", "saev.tools", "check", "--deep")
    assert done.returncode == 0, done.stdout


def test_every_image_is_in_the_result_once_and_at_its_row(built):
    (vit,) = (built.folder / "results").glob("pets-*/tiny-*")
    rows = np.concatenate([np.load(p) for p in sorted(vit.glob("rows/*.npy"))])
    assert rows.tolist() == list(range(300))
    for latents in vit.glob("*/named-*/latents.safetensors"):
        found = load_file(latents)
        for top, values in zip(found["top_rows"], found["top_values"], strict=True):
            present = top[top >= 0]
            assert len(set(present.tolist())) == len(present)
            assert (np.diff(values[top >= 0]) <= 0).all()


def test_check_names_what_is_altered_and_what_is_stale(built, tmp_path):
    folder = tmp_path / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    copy = Project(folder)
    (checkpoint, *_) = sorted((folder / "results").glob("pets-*/tiny-*/*/checkpoint.safetensors"))
    data = bytearray(checkpoint.read_bytes())
    data[-1] ^= 1
    checkpoint.write_bytes(data)
    (shard, *_) = sorted((folder / "results").glob("pets-*/tiny-*/layer-*/shard-00000.npy"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    trainer = folder / "saev/train/__main__.py"
    trainer.write_text(trainer.read_text() + "\nCHANGED = 1\n")
    quick = copy.python("-m", "saev.tools", "check")
    assert quick.returncode == 1
    assert "checkpoint.safetensors has another SHA-256" in quick.stdout
    assert quick.stdout.count("the code of the stage train") == 2
    assert str(shard.name) not in quick.stdout
    deep = copy.python("-m", "saev.tools", "check", "--deep")
    assert f"{shard.name} has another SHA-256" in deep.stdout


def test_check_sees_altered_pages_parts_and_descriptions(built, tmp_path):
    folder = tmp_path / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    copy = Project(folder)
    (first, second) = sorted((folder / "results").glob("pets-*/tiny-*/*/named-*"))
    next((first / "dashboard/pictures").rglob("*.jpg")).unlink()
    block = second / "dashboard/data/blocks/000/00000.js"
    block.write_bytes(block.read_bytes().replace(b"0", b"1", 1))
    (part,) = (second / "parts").glob("*/totals.safetensors")
    part.write_bytes(part.read_bytes()[:-1])
    (vit,) = (folder / "results").glob("pets-*/tiny-*")
    sidecar = vit / "shards/00000.json"
    sidecar.write_bytes(sidecar.read_bytes() + b" ")
    (folder / "results/pets-00000000").mkdir()
    (folder / "results/pets-00000000/meta.json").write_text("{}")
    quick = copy.python("-m", "saev.tools", "check")
    deep = copy.python("-m", "saev.tools", "check", "--deep")
    assert quick.returncode == deep.returncode == 1
    for text in (quick.stdout, deep.stdout):
        assert re.search(r"pictures holds \d+ files of", text)
        assert "totals.safetensors has" in text
        assert "were rewritten after the recording was sealed" in text
        assert re.search(r"pets-00000000/meta.json can't be read", text)
    assert "dashboard/data were changed after" in deep.stdout


def test_check_tells_a_stopped_run_from_one_under_way_and_from_what_is_left_over(built, tmp_path):
    folder = tmp_path / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    copy = Project(folder)
    (first, second) = sorted((folder / "results").glob("pets-*/tiny-*/*/train.jsonl"))
    (first.parent / ".state/abc").mkdir(parents=True)
    (second.parent / ".state/abc").mkdir(parents=True)
    (second.parent / "meta.json").unlink()
    text = copy.python("-m", "saev.tools", "check").stdout
    assert re.search(rf"left over +\S*{first.parent.name}: .*saev gc", text)
    assert re.search(rf"incomplete +\S*{second.parent.name}: was stopped", text)
    with Lock(first.parent / ".state/abc.lock", ""), Lock(second.parent / ".state/abc.lock", ""):
        text = copy.python("-m", "saev.tools", "check").stdout
    assert "left over" not in text
    assert "incomplete" not in text


def test_an_altered_shard_or_checkpoint_stops_what_reads_it(built, tmp_path):
    folder = tmp_path / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    copy = Project(folder)
    for path in sorted((folder / "results").glob("pets-*/tiny-*/layer-01.patches/shard-00000.npy")):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    for rule in ("train_sae", "merge_analysis", "build_dashboard"):
        if rule == "build_dashboard":  # it reads shards only if there are no codes
            for codes in (folder / "results").glob("pets-*/tiny-*/*/*/codes"):
                shutil.rmtree(codes)
        text = refused(copy, "--forcerun", rule)
        assert "shard-00000.npy" in text, rule
        subprocess.run(["cp", "-a", f"{built.folder}/.", folder], check=True)
        path.write_bytes(data)


def test_the_settings_in_the_readme_plan_what_they_say(tmp_path):
    own, model = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    project = Project.create(tmp_path / "project", n_images=300)
    shutil.copy(ROOT / "config.yaml", project.folder)
    mine = project.folder / "mine.yaml"
    mine.write_text(own.replace("/data/birds", "pictures"))
    planned = project.planned("--configfile", "mine.yaml")
    assert planned["train_sae"] == planned["build_dashboard"] == planned["record_shard"] == 1
    assert "draw_openmoji" not in planned
    settings = yaml.safe_load(own.replace("/data/birds", "pictures")) | yaml.safe_load(model)
    default = project.settings()["sae"]["cls"]
    settings["sae"] = {"mine": {**default, "layer": -2}}
    settings["runs"][0] |= {"vit": "clip-l14", "sae": "mine"}
    mine.write_text(yaml.safe_dump(settings))
    (project.folder / "dino.safetensors").write_bytes(b"")
    assert project.planned("--configfile", "mine.yaml")["record_shard"] == 1


def test_the_docs_name_only_commands_that_exist():
    text = (ROOT / "README.md").read_text() + (ROOT / "docs/reruns.md").read_text()
    rules = set(
        re.findall(r"^rule (\w+):", "".join(p.read_text() for p in ROOT.glob("rules/*.smk")), re.M)
    )
    assert set(re.findall(r"--(?:forcerun|until) (\w+)", text)) <= rules
    for path in re.findall(r"\((docs/[\w.]+)\)", text):
        assert (ROOT / path).exists(), path


def test_the_gallery_lists_all_runs_also_those_of_other_settings(built, tmp_path):
    folder = tmp_path / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    copy = Project(folder)
    settings = copy.settings()
    settings["runs"] = settings["runs"][:1]
    settings["sae"]["cls"]["epochs"] = 3
    copy.configure(settings)
    copy.snakemake()
    page = (folder / "results/index.html").read_text()
    assert page.count('"current":true') == 1
    assert page.count('"current":false') == 2


def test_a_clone_runs_its_own_code_also_where_another_one_is_installed(tmp_path):
    clone = Project.create(tmp_path / "clone", n_images=90)
    with (clone.folder / "saev/settings/config.py").open("a") as file:
        file.write("\nraise SystemExit('the code of this clone')\n")
    # Started by its name, Snakemake doesn't look for packages in the current folder.
    done = subprocess.run(
        [Path(sys.executable).with_name("snakemake"), "--dry-run"],
        cwd=clone.folder,
        env=clone.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "the code of this clone" in done.stdout + done.stderr
