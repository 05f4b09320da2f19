"""`saev ls`, `gc`, `diff` and `plan` on the results of real runs."""

import json
import shutil
import subprocess

import pytest
from project import SAE, Project

from saev.core.files import write_json
from saev.core.locks import Lock


@pytest.fixture
def copy(built, tmp_path):
    folder = tmp_path / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    return Project(folder)


def run(project, *arguments):
    return project.python("-m", "saev.tools", *arguments)


@pytest.mark.slow
def test_plan_counts_the_jobs_that_a_dry_run_plans(tmp_path):
    project = Project.create(tmp_path / "project", n_images=300)

    def planned():
        code = (
            "import json\nfrom saev.tools import estimate, present\nfrom saev.workflow import "
            "jobs\nprint(json.dumps(estimate.counts(jobs.missing(jobs.jobs(present.plan([], "
            "'results'))))))"
        )
        done = project.python("-c", code)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def dry():
        return {rule: n for rule, n in project.planned().items() if rule != "gallery"}

    assert planned() == dry()
    changed = project.settings()
    changed["vit"]["tiny"]["shard_images"] = 512
    changed["images"]["more"] = {"folder": "pictures/cat"}
    changed["analysis"]["on"] = {"on": "more", "top_images": 4}
    changed["runs"] += [{"images": "pets", "vit": "tiny", "sae": "cls", "analysis": "on"}]
    project.configure(changed)
    assert planned() == dry()


def training(text):
    (line,) = (
        line for line in text.splitlines() if line.startswith("train ") and "/patches-" in line
    )
    return line


@pytest.mark.slow
def test_plan_counts_what_is_left_of_a_run_that_lost_files(copy):
    assert "0 of " in run(copy, "plan").stdout
    (vit,) = (copy.folder / "results").glob("pets-*/tiny-*")
    shutil.rmtree(next(vit.glob("cls-*")))
    text = run(copy, "plan").stdout
    dry = {rule: n for rule, n in copy.planned().items() if rule != "gallery"}
    for rule, n in dry.items():
        assert [line.split()[1] for line in text.splitlines() if line.startswith(f"{rule} ")] == [
            str(n)
        ]
    assert "no rate measured yet" in text
    other = next(vit.glob("patches-*"))
    run_json = json.loads((other / "run.json").read_text())
    changed = copy.settings()
    changed["sae"]["patches"]["seed"] = 7
    copy.configure(changed)
    assert "vectors/s" in training(run(copy, "plan").stdout)
    write_json(other / "run.json", {**run_json, "host": "elsewhere"})
    assert "no rate measured yet" in training(run(copy, "plan").stdout)


@pytest.mark.slow
def test_gc_removes_what_a_changed_learning_rate_left_and_only_with_delete(copy):
    before = copy.results()
    changed = copy.settings()
    changed["sae"]["cls"]["lr"] = SAE["lr"] / 2
    copy.configure(changed)
    copy.snakemake()
    reached = {k: v for k, v in copy.results().items() if k not in before or "/cls-" not in k}
    reached.pop("index.html")
    text = run(copy, "gc").stdout
    (old,) = {k.split("/")[2] for k in before if "/cls-" in k}
    assert old in text
    assert "patches-" not in text
    assert set(before) <= set(copy.results())
    with Lock(copy.folder / "results/.lock", "results/"):
        refused = run(copy, "gc", "--delete")
    assert refused.returncode == 1
    assert "is in use by process" in refused.stderr
    assert set(before) <= set(copy.results())
    done = run(copy, "gc", "--delete")
    assert done.returncode == 0, done.stderr
    assert "Kept: 1 folder" in done.stdout
    assert set(before) <= set(copy.results())
    (folder,) = copy.folder.glob(f"results/*/*/{old}")
    for unasked in (run(copy, "gc", "--delete", str(folder)), run(copy, "gc", "--delete", "pets")):
        assert unasked.returncode == 1
    assert "add --yes" in run(copy, "gc", "--delete", str(folder)).stderr
    assert set(before) <= set(copy.results())
    done = run(copy, "gc", "--yes", "--delete", str(folder.relative_to(copy.folder)))
    assert done.returncode == 0, done.stderr
    assert "index.html still lists" in done.stdout
    after = copy.results()
    after.pop("index.html")
    assert after == reached
    assert "nothing is here that no run uses" in run(copy, "gc").stdout
    assert run(copy, "gc", "--codes", "--delete").returncode == 0
    assert {k for k in after if "/codes/" not in k} == {*copy.results()} - {"index.html"}
    assert copy.planned() == {}


@pytest.mark.slow
def test_ls_shows_a_real_run_as_text_and_as_json(copy):
    text = run(copy, "ls").stdout
    assert text.count("dashboard") == 2
    assert max(map(len, text.splitlines())) <= 100
    entries = json.loads(run(copy, "ls", "--json").stdout)
    assert [e["level"] for e in entries].count("analysis") == 2
    assert all(e["made"] for e in entries)
    next((copy.folder / "results").rglob("latents.parquet")).with_name("meta.json").unlink()
    assert run(copy, "ls").stdout.count("incomplete") == 2


@pytest.mark.slow
def test_diff_of_two_real_runs_names_the_stage_whose_code_made_the_other(copy, built):
    edited = copy.folder / "saev/analyze/__main__.py"
    edited.write_text(edited.read_text() + "\nCHANGED = 1\n")
    copy.snakemake()
    (a, b) = (
        sorted((p.folder / "results").glob("pets-*/tiny-*/cls-*/named-*"))[0] for p in (built, copy)
    )
    done = run(copy, "diff", str(a), str(b))
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "The difference comes from: analyze (code)."


@pytest.mark.slow
def test_a_moved_folder_of_images_reruns_nothing_and_check_finds_the_images_there(copy):
    (copy.folder / "pictures").rename(copy.folder / "photos")
    moved = copy.settings()
    moved["images"]["pets"]["folder"] = str(copy.folder / "photos")
    copy.configure(moved)
    assert copy.planned() == {}
    deep = run(copy, "check", "--deep")
    assert deep.returncode == 0, deep.stdout
    image = copy.folder / "photos/cat/0000.png"
    data = bytearray(image.read_bytes())
    data[-1] ^= 1
    image.write_bytes(data)
    assert run(copy, "check").returncode == 0
    deep = run(copy, "check", "--deep")
    assert deep.returncode == 1
    assert "1 images of photos have other contents than when recorded" in deep.stdout
    assert "cat/0000.png" in deep.stdout


@pytest.mark.slow
def test_check_finds_swapped_thumbnails_and_an_edited_metric_without_being_asked_for_more(copy):
    page = next((copy.folder / "results").glob("pets-*/tiny-*/cls-*/named-*/dashboard"))
    first, second = sorted((page / "pictures").glob("large/*/*/*.jpg"))[:2]
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    done = run(copy, "check")
    assert done.returncode == 1
    assert "pictures were changed after they were written" in done.stdout
    first.write_bytes(one)
    second.write_bytes(other)
    assert run(copy, "check").returncode == 0
    summary = json.loads((page / "summary.json").read_text())
    summary["summary"]["splits"]["train"]["nmse"] /= 2
    write_json(page / "summary.json", summary)
    done = run(copy, "check")
    assert done.returncode == 1
    assert "summary.json has" in done.stdout
