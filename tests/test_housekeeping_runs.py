"""`saev ls`, `gc`, `diff` and `plan` on the results of real runs."""

import json
import shutil
import subprocess

import pytest
from project import SAE, Project

from saev.files import write_json
from saev.locks import Lock


@pytest.fixture
def copy(built, tmp_path):
    folder = tmp_path / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    return Project(folder)


def run(project, *arguments):
    return project.python("-m", "saev.cli", *arguments)


@pytest.mark.slow
def test_plan_counts_the_jobs_that_a_dry_run_plans(tmp_path):
    project = Project.create(tmp_path / "project", n_images=300)

    def planned():
        code = (
            "import json\nfrom saev.housekeeping import estimate, jobs, settings\n"
            "print(json.dumps(estimate.counts(jobs.missing(jobs.jobs(settings.plan([], 'results'))))))"
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
    assert "rows/s" in run(copy, "plan").stdout
    write_json(other / "run.json", {**run_json, "host": "elsewhere"})
    assert "rows/s" not in run(copy, "plan").stdout


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
    assert "index.html is made anew" in done.stdout
    after = copy.results()
    after.pop("index.html")
    assert after == reached
    assert copy.planned() == {}
    assert "nothing else is here" in run(copy, "gc").stdout


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
    edited = copy.folder / "saev/analyze.py"
    edited.write_text(edited.read_text() + "\nCHANGED = 1\n")
    copy.snakemake()
    (a, b) = (
        sorted((p.folder / "results").glob("pets-*/tiny-*/cls-*/named-*"))[0] for p in (built, copy)
    )
    done = run(copy, "diff", str(a), str(b))
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "What differs comes from: analyze (code)."
