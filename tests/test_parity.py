"""Parity names the stage whose code changed the result, and says nothing of harmless edits."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import warm
from project import ROOT, Project

STAGES = ("images", "activations", "train", "labels", "analyze", "dashboard")
FAULTS = (
    {
        "activations": (
            "saev/activations/towers/tower.py",
            'outputs[f"layer-{layer:02}.cls"] = found.cls[i]',
            'outputs[f"layer-{layer:02}.cls"] = found.cls[max(0, i - 1)]',
        ),
        "train": (
            "saev/train/initial.py",
            "sample(vectors.n, settings.init_rows, [seed])",
            "sample(vectors.n, 15, [seed])",
        ),
        "labels": (
            "saev/labels/join.py",
            '_normal(batch.column("key")), value_set=keys))',
            '_normal(batch.column("key")), value_set=keys).take(list(range(len(batch)))[::-1]))',
        ),
        "analyze": (
            "saev/analyze/accumulate.py",
            "rows = step.rows[image]",
            "rows = image",
        ),
        "dashboard": (
            "saev/dashboard/heatmaps.py",
            "as_bytes(values, peak[latent])",
            "as_bytes(values, peak[0])",
        ),
    },
    {
        "activations": (
            "saev/images/geometry.py",
            "return np.asarray(image)",
            "return np.asarray(image)[:, ::-1].copy()",
        ),
        "train": (
            "saev/train/order.py",
            "np.random.default_rng(self.key).permutation(self.size)",
            "np.arange(self.size)",
        ),
        "analyze": (
            "saev/analyze/counts.py",
            "known = labels >= 0",
            "known = labels >= 1",
        ),
        "dashboard": (
            "saev/dashboard/thumbnails.py",
            'image.save(data, "JPEG"',
            'image.transpose(Image.Transpose.ROTATE_180).save(data, "JPEG"',
        ),
    },
    {
        "images": (
            "saev/images/sources/folder.py",
            "found.sort()",
            "found.sort(key=lambda path: path[::-1])",
        ),
        "activations": (
            "saev/activations/moments.py",
            "np.sqrt(self.m2 / max(1, self.count))",
            "np.sqrt(self.m2 / (self.count - 1))",
        ),
        "analyze": (
            "saev/analyze/accumulate.py",
            "sums.vector += centred[name]",
            "sums.vector[:] = centred[name]",
        ),
    },
)
"""One-line faults, by the stage that they are planted in: each stage is looked at by itself, so
those of one round don't hide each other."""
HARMLESS = (
    ("saev/images/artifact.py", "found: list[Entry] = []", "found: list[Entry] = list()"),
    ("saev/images/geometry.py", "across, down", "right_by, down"),
    ("saev/activations/forward.py", "    before: Pass | None = None\n", "    before = None\n"),
    ("saev/activations/seal.py", '"""Write what sealing', '"""Say and write what sealing'),
    (
        "saev/train/order.py",
        "n_blocks = -(-n // BLOCK_VECTORS)",
        "n_blocks = (n + BLOCK_VECTORS - 1) // BLOCK_VECTORS",
    ),
    (
        "saev/train/initial.py",
        "chosen = sample(vectors.n, settings",
        "chosen = sample(at_most=settings",
    ),
    ("saev/labels/join.py", "matched += pyarrow", "matched = matched + pyarrow"),
    ("saev/analyze/top.py", "is_largest", "holds_largest"),
    ("saev/analyze/counts.py", "known = labels >= 0", "known = labels > -1"),
    ("saev/dashboard/thumbnails.py", "scale = side", "factor = side"),
    (
        "saev/sae/base.py",
        "u = self.normalise(x) - self.b_dec",
        "u = self.normalise(x)\n        u = u - self.b_dec",
    ),
    ("saev/core/logs.py", '"""', '"""\n'),
    ("saev/activations/loading.py", "BATCH = 32\n", "BATCH = 16\n"),
    ("saev/dashboard/assets/state.js", "// What", "// This is what"),
)


def edit(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / file
    text = path.read_text()
    assert old in text, (file, old)
    path.write_text(text.replace(old, new))


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.email=a@b.c", "-c", "user.name=n")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose code lies in git, with mixes of a few images and steps."""
    made = Project.create(tmp_path_factory.mktemp("parity"), 300)
    settings = made.settings()
    settings["runs"] = [settings["runs"][1]]
    settings["parity"] = {"steps": 30}
    made.configure(settings)
    (made.folder / ".gitignore").write_text("pictures\n__pycache__\n.snakemake\nlogs\nresults\n")
    git(made.folder, "init", "-q", "-b", "main")
    git(made.folder, "add", "-A")
    git(made.folder, "commit", "-qm", "old")
    git(made.folder, "tag", "v1.0")
    return made


@pytest.fixture
def edited(project):
    yield project
    git(project.folder, "checkout", "-q", ".")


def run(project, *arguments):
    return subprocess.run(
        [warm.interpreter(), "-m", "saev.tools", *arguments],
        cwd=project.folder,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def parity(project, *options, old="HEAD", new="worktree"):
    """Run it; return the exit status, and the report."""
    done = run(project, "parity", old, new, *options)
    path = project.folder / "results/parity" / f"{old}..{new}" / "report.json"
    assert done.returncode in (0, 1, 2), done.stderr
    assert "Traceback" not in done.stderr
    return done, json.loads(path.read_text()) if path.exists() else {}


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_each_planted_fault_is_found_in_its_stage(edited, number):
    for file, old, new in FAULTS[number].values():
        edit(edited.folder, file, old, new)
    done, report = parity(edited, "--alone")
    assert done.returncode == 1, done.stdout + done.stderr
    for stage in FAULTS[number]:
        found = report["stages"][stage]
        assert found["level"] in ("different", "equal within seed noise"), (stage, found)
        assert f"{stage} changed the result" in report["answer"]
    if number == 0:
        assert report["stages"]["images"]["level"] == "bit-equal"
        assert "holds layer-00.cls of OLD" in report["stages"]["activations"]["texts"][0]
        assert "lists of top images differ" in report["stages"]["analyze"]["texts"][0]
    if number == 2:
        assert "same rows in another order" in report["stages"]["images"]["texts"][0]


@pytest.mark.slow
def test_harmless_edits_are_the_same(edited):
    for file, old, new in HARMLESS:
        edit(edited.folder, file, old, new)
    path = edited.folder / "saev/dashboard/thumbnails.py"
    path.write_text(path.read_text().replace("* scale)", "* factor)"))
    path = edited.folder / "saev/images/geometry.py"
    path.write_text(path.read_text().replace("* across", "* right_by"))
    path = edited.folder / "saev/train/initial.py"
    old, new = (
        "at_most=settings.init_rows, [seed])",
        "at_most=settings.init_rows, n=vectors.n, key=[seed])",
    )
    path.write_text(path.read_text().replace(old, new))
    done, report = parity(edited, "--alone")
    # Another batch of the forward pass moves last bits, and a page holds its scripts' comments.
    answer = "the same: activations and dashboard are equal within rounding, all else bit by bit"
    assert report["answer"] == answer, report["stages"]
    assert done.returncode == 0


@pytest.mark.slow
def test_the_walk_shows_what_follows_from_a_change_and_makes_nothing_twice(edited):
    file, old, new = FAULTS[0]["analyze"]
    edit(edited.folder, file, old, new)
    done, report = parity(edited)
    assert done.returncode == 1
    assert report["answer"].startswith("analyze changed the result: ")
    assert [mix["kind"] for mix in report["mixes"]][:7] == ["old", *["walk"] * 6]
    walk = {mix["switched"]: mix for mix in report["mixes"] if mix["kind"] == "walk"}
    assert walk["labels"]["verdicts"]["analyze"]["level"] == "bit-equal"
    assert walk["analyze"]["verdicts"]["dashboard"]["level"] == "different"
    assert walk["dashboard"]["verdicts"]["dashboard"]["level"] == "bit-equal"
    again, same = parity(edited)
    assert same == report
    assert "with the code of" not in again.stderr  # all was there
    doing = {"train": "training", "analyze": "analysing", "dashboard": "building the page"}
    for log in edited.folder.glob(".parity/made/*/log.txt"):
        stage = log.parent.name.partition("-")[0]
        others = {text for name, text in doing.items() if name != stage}
        assert not {text for text in others if text in log.read_text()}, log
    done = edited.snakemake("parity", "--config", "old=HEAD", "new=HEAD")
    assert "the same, bit by bit, in every stage" in done.stdout


@pytest.mark.slow
def test_the_commands_of_the_docs_tell_the_story_that_the_docs_tell(edited):
    text = (ROOT / "docs/parity.md").read_text()
    commands = re.findall(r"^    ((?:saev|snakemake) .*)$", text, re.M)
    edited.snakemake("dashboard")
    file, old, new = FAULTS[0]["analyze"]
    edit(edited.folder, file, old, new)
    _, report = parity(edited, old="main")
    kept = [mix["results"]["analyze"] for mix in report["mixes"] if mix["kind"] == "old"]
    script = "import shutil, sys; shutil.copytree({!r}, sys.argv[-1], dirs_exist_ok=True)"
    (edited.folder / "old.py").write_text(script.format(kept[0]))
    status = {}
    for command in commands:
        program, *arguments = shlex.split(command)
        if program == "saev":
            done = run(edited, *(a.replace("/archive/results", "results") for a in arguments))
        else:
            done = edited.snakemake(*arguments, check=False)
        said = done.stdout + done.stderr
        assert "Traceback" not in said, command
        status[command] = done.returncode
        if "worktree" in command:
            assert "\nanalyze changed the result" in said, (command, said)  # and nothing before it
    assert len(status) == 5
    assert sorted(status.values()) == [0, 0, 1, 1, 1]


@pytest.mark.slow
def test_what_can_not_be_compared_is_said_before_anything_runs(edited):
    done, _ = parity(edited, old="nowhere")
    assert done.returncode == 2
    assert "nowhere is no revision of" in done.stderr
    done, _ = parity(edited, new="pictures")
    assert done.returncode == 2
    assert "pictures is no revision of" in done.stderr
    (edited.folder / "rules/labels.smk").unlink()
    done, _ = parity(edited)
    assert done.returncode == 2
    assert "worktree has no stage labels" in done.stderr
    assert "with the code of" not in done.stderr  # nothing ran
    git(edited.folder, "checkout", "-q", ".")
    edit(edited.folder, "Snakefile", "min_version(", "min_versions(")
    done, _ = parity(edited)
    assert done.returncode == 2
    assert "images with the code of worktree failed" in done.stderr


@pytest.mark.slow
def test_a_command_can_stand_in_for_a_stage(edited):
    labels = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)"
    (edited.folder / "old.py").write_text(labels)
    _, report = parity(edited, "--alone", new="HEAD")
    made = report["mixes"][0]["results"]["labels"]
    done, report = parity(
        edited, "--alone", "--command", f"labels=python old.py {made} {{out}}", new="HEAD"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "labels by a command" in done.stderr
    assert report["stages"]["labels"]["level"] == "bit-equal"
    done, _ = parity(edited, "--command", "labels=python old.py", new="HEAD")
    assert done.returncode == 2
    assert "must name {out}" in done.stderr
