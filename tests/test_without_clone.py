"""A wheel is enough to work without a clone: `saev init`, `saev run`, and what follows them."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from project import ROOT, TOWER, config, draw_pictures

from saev.core import provenance
from saev.core.errors import UserError
from saev.core.files import write_json
from saev.images.sources.folder import list_folder
from saev.settings.config import parse
from saev.tools.begin import begin
from saev.tools.launch import LAUNCHED, command_of
from saev.workflow.digests import FILES, code_digest
from saev.workflow.stages import BY_NAME


def alone(folder, *command, path=None):
    """Run a command in a folder, without what the tests import; return what it did."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    more = {"PYTHONPATH": str(path)} if path else {}
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**kept, **more, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def copy_as_for_a_container(folder):
    """Copy what `envs/Containerfile` copies from the clone; return where its package lies."""
    for line in (ROOT / "envs/Containerfile").read_text().splitlines():
        if not line.startswith("COPY"):
            continue
        *names, target = line.split()[1:]
        into = folder / target.removeprefix("/")
        for path in (path for name in names for path in ROOT.glob(name)):
            if path.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "cache")
                shutil.copytree(path, into, ignore=ignored)
            else:
                into.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, into)
    return folder / "opt/saev"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from the files that a container is made of."""
    folder = tmp_path_factory.mktemp("wheel")
    source = copy_as_for_a_container(tmp_path_factory.mktemp("container"))
    build = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    done = alone(folder, sys.executable, "-m", "pip", *build)
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("saev_workflow-*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder that a wheel was installed into."""
    folder = tmp_path_factory.mktemp("installed")
    into = ("install", "--quiet", "--no-deps", "--target", folder, wheel)
    done = alone(folder, sys.executable, "-m", "pip", *into)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_a_wheel_makes_and_looks_after_results_in_a_folder_far_from_any_clone(installed, tmp_path):
    keys = draw_pictures(tmp_path / "pictures", 120)

    def saev(*arguments, folder=tmp_path / "mine"):
        return alone(folder, installed / "bin/saev", *arguments, path=installed)

    made = saev("init", "mine", "--images", "pictures", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "120 images" in made.stdout
    said = re.search(r"Every setting is explained in (.*)", made.stdout)[1]
    assert Path(said).is_relative_to(installed)
    assert Path(said).is_file()
    dry = saev("run", "-n")
    assert dry.returncode == 0, dry.stderr
    assert re.search(r"fetch_clip_weights +1\n", dry.stdout + dry.stderr)

    mine = tmp_path / "mine"
    write_json(mine / "tower.json", TOWER)
    rows = [f"{key},{'north' if i % 2 else 'south'}" for i, key in enumerate(keys)]
    (mine / "sites.csv").write_text("\n".join(["path,site", *rows]) + "\n")
    settings = config()
    settings["images"]["pets"]["folder"] = "../pictures"
    settings["runs"] = settings["runs"][:1]
    (mine / "config.yaml").write_text(yaml.safe_dump(settings))
    ran = saev("run", "--cores", "2")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"Open {mine}/results/index.html" in ran.stdout
    assert ": 1 run, 0 of " in saev("plan").stdout
    for command in (["check", "--deep"], ["ls"], ["gc"]):
        done = saev(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    refused = saev("run", "-n", "--sdm", "conda")
    assert refused.returncode == 1
    assert "error: --sdm conda needs a clone of saev." in refused.stdout + refused.stderr


@pytest.mark.slow
def test_a_wheel_and_its_clone_take_up_the_results_of_each_other(installed, tmp_path):
    code = (
        "from saev.workflow import digests, plan, stages\n"
        "print([digests.code_digest(s) for s in stages.STAGES],"
        " [digests.module_digest(m) for m in plan.MAKERS])"
    )
    there = alone(tmp_path, sys.executable, "-c", code, path=installed)
    here = alone(tmp_path, sys.executable, "-c", code, path=ROOT)
    assert there.returncode == 0, there.stderr
    assert there.stdout == here.stdout
    assert code_digest(BY_NAME["train"]) in here.stdout


@pytest.mark.slow
def test_a_wheel_says_that_it_has_types_and_holds_nothing_beside_its_package(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "saev/py.typed" in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"saev", "saev_workflow"}
    assert not [name for name in names if "cache" in name]


@pytest.mark.slow
def test_an_editable_install_is_found_beside_a_folder_with_the_name_of_the_package(tmp_path):
    build = (
        "import sys; from hatchling.build import build_editable; print(build_editable(sys.argv[1]))"
    )
    done = alone(ROOT, sys.executable, "-c", build, tmp_path)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as editable:
        assert not [name for name in editable.namelist() if name.startswith("saev/")]
        editable.extractall(tmp_path / "site")
    (tmp_path / "beside/saev/saev").mkdir(parents=True)
    code = "import site, sys; site.addsitedir(sys.argv[1]); import saev; print(saev.__file__)"
    done = alone(tmp_path / "beside", sys.executable, "-c", code, tmp_path / "site")
    assert Path(done.stdout.strip()) == ROOT / "saev/__init__.py", done.stderr


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    return tmp_path


def test_init_makes_settings_of_the_demo_or_of_own_images_and_overwrites_nothing(here):
    begin(Path("demo"), None)
    demo = yaml.safe_load((here / "demo/config.yaml").read_text())
    assert demo == yaml.safe_load((ROOT / "config.yaml").read_text())
    with pytest.raises(UserError, match=r"demo/config\.yaml is there already"):
        begin(Path("demo"), None)

    draw_pictures(here / "My: birds", 30)
    said = "\n".join(begin(Path("birds"), "My: birds"))
    assert "30 images" in said
    assert "only a dictionary of patches" in said
    assert "cd birds && saev run -n" in said
    own = yaml.safe_load((here / "birds/config.yaml").read_text())
    assert own["images"] == {"My-birds": {"folder": str(here / "My: birds")}}
    assert own["analysis"]["My-birds"]["labels"] == {"folder": {"folder": True}}
    assert [run["sae"] for run in own["runs"]] == ["patches"]
    assert {key: own[key] for key in ("vit", "sae", "compute")} == {
        key: demo[key] for key in ("vit", "sae", "compute")
    }
    parse(own)

    draw_pictures(here / "more", 300)
    (here / "more/flat").mkdir()
    for i, path in enumerate(sorted((here / "more").rglob("*.png"))):
        path.rename(here / f"more/{i}.png")
    begin(Path(), "more")
    own = yaml.safe_load((here / "config.yaml").read_text())
    assert own["analysis"]["more"]["labels"] == {}
    assert [run["sae"] for run in own["runs"]] == ["cls", "patches"]


def test_init_finds_out_what_a_folder_holds(here):
    draw_pictures(here / "pets", 3)
    (here / "tars").mkdir()
    with tarfile.open(here / "tars/0.tar", "w") as tar:
        tar.add(here / "pets", "")
    begin(Path("mine"), "tars")
    own = yaml.safe_load((here / "mine/config.yaml").read_text())
    assert own["images"] == {"tars": {"tars": str(here / "tars")}}
    assert own["analysis"]["tars"]["labels"] == {}
    for name, kind in [("a.parquet", "parquet"), ("dataset_info.json", "saved")]:
        (here / kind).mkdir()
        (here / kind / name).write_bytes(b"")
        with pytest.raises(UserError, match=f"there is no image in {kind}; .*write {kind}: {kind}"):
            list_folder(kind)
    (here / "texts").mkdir()
    (here / "texts/a.txt").write_bytes(b"")
    with pytest.raises(UserError, match=r"there is no image in texts; .* the like$"):
        list_folder("texts")


def test_init_refuses_what_holds_no_images(here):
    (here / "empty").mkdir()
    (here / "a.zip").write_bytes(b"")
    draw_pictures(here / "pets", 3)
    for images, why in [
        ("absent", "--images: there is no absent"),
        ("a.zip", r"--images: a\.zip isn't a folder, a \.parquet or a \.tar file"),
        ("empty", "--images: .*empty"),
    ]:
        with pytest.raises(UserError, match=why):
            begin(Path("new"), images)
    with pytest.raises(UserError, match="pets/new lies among the images"):
        begin(Path("pets/new"), "pets")
    assert not (here / "new").exists()
    (here / "file").write_text("")
    with pytest.raises(UserError, match="file is a file: name a folder"):
        begin(Path("file"), None)


def test_run_is_snakemake_on_all_cores_unless_told_otherwise(here, monkeypatch):
    (here / "config.yaml").write_text("")
    start = [sys.executable, "-m", LAUNCHED, "--snakefile", str(FILES / "Snakefile")]
    assert command_of([]) == [*start, "--cores", "all"]
    assert command_of(["-n", "train"]) == [*start, "--cores", "all", "-n", "train"]
    for given in (["--cores", "2"], ["-c2"], ["-j", "3"], ["--jobs=3"], ["-e", "slurm"]):
        assert command_of(given) == [*start, *given]
    assert command_of(["--workflow-profile", "slurm"])[-2:] == ["--workflow-profile", "slurm"]
    assert "--cores" not in command_of(["--workflow-profile", "slurm"])
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "mine")
    assert command_of([]) == start
    monkeypatch.chdir(ROOT)
    assert command_of(["--cores", "1"]) == [sys.executable, "-m", LAUNCHED, "--cores", "1"]


def test_ctrl_c_before_snakemake_has_read_the_workflow_is_one_line(here):
    (here / "config.yaml").write_text("")
    (here / "python/snakemake").mkdir(parents=True)
    (here / "python/snakemake/__init__.py").write_text("")
    # Stands for Snakemake's imports.
    (here / "python/snakemake/cli.py").write_text(
        "import time\nprint('importing', flush=True)\ntime.sleep(60)\n"
    )
    paths = os.pathsep.join([str(here / "python"), str(ROOT)])
    process = subprocess.Popen(
        [sys.executable, "-m", "saev.tools", "run"],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[1] == "stopped: the same command resumes\n"
    assert process.returncode == 130


def test_without_settings_one_line_says_what_to_do(here):
    for arguments in (["run", "-n"], ["plan"]):
        done = alone(here, sys.executable, "-m", "saev.tools", *arguments, path=ROOT)
        assert done.returncode == 1
        assert done.stderr == (
            "error: there is no config.yaml here: go to the folder with your settings, or make "
            "one: saev init DIR\n"
        )
    with pytest.raises(UserError, match=r"--configfile: there is no file mine\.yaml"):
        command_of(["--configfile", "mine.yaml"])
    (here / "mine.yaml").write_text("runs: []\n")
    assert "--configfile" in command_of(["--configfile", "mine.yaml"])
    (here / "there").mkdir()
    (here / "there/config.yaml").write_text("runs: []\n")
    assert command_of(["-d", "there"])[-2:] == ["-d", "there"]


def test_the_revision_is_that_of_the_code_and_not_of_a_checkout_around_it(here, monkeypatch):
    def git(*arguments):
        person = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        done = alone(here, "git", *person, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    code = here / "venv/saev/provenance.py"
    code.parent.mkdir(parents=True)
    code.write_text("")
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "theirs")
    monkeypatch.setattr(provenance, "__file__", str(code))
    assert provenance.git_revision() is None
    git("add", ".")
    git("commit", "--quiet", "--message", "ours")
    assert provenance.git_revision() == git("rev-parse", "HEAD")


def test_the_docs_name_only_commands_of_saev_that_exist():
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    named = {
        word
        for page in pages
        for word in re.findall(r"(?:^ {4}(?:\$ )?|`|&& )saev ([a-z]+)\b", page.read_text(), re.M)
    }
    helped = alone(ROOT, sys.executable, "-m", "saev.tools", "--help").stdout
    known = set(re.findall(r"^  saev ([a-z]+)", helped, re.M))
    assert known == set(re.findall(r"^    ([a-z]+)  ", helped, re.M))
    assert known == named


def test_the_readme_says_what_the_distribution_is_called():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "saev-workflow"
    assert "The distribution is called `saev-workflow`" in (ROOT / "README.md").read_text()
