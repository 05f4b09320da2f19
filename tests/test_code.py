"""The digest of a stage's code: what changes it, what doesn't, and which modules lie in it."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import partial
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from project import Project

from saev.core.planned import sources_digest
from saev.workflow import hashes
from saev.workflow.digests import EXEMPT, ROOT, closure, module_digest
from saev.workflow.remembered import remembered

STAGES = ("images", "activations", "train", "compare", "labels", "analyze", "dashboard")
# What must never be in a stage's closure: a change there would rerun the stage for nothing.
TOWERS = "saev.activations.towers"
FORBIDDEN = {
    "images": ["saev.activations", "saev.sae", "saev.train", "saev.analyze"],
    "activations": ["saev.sae", "saev.train", "saev.analyze", "saev.dashboard"],
    "train": [TOWERS, "saev.analyze", "saev.dashboard", "saev.images.decode"],
    "compare": [TOWERS, "saev.analyze", "saev.dashboard"],
    "labels": ["saev.activations", "saev.sae", "saev.train", "saev.analyze"],
    "analyze": [TOWERS, "saev.dashboard", "saev.labels.join"],
    "dashboard": [TOWERS],
}
EVERYWHERE = {"saev.settings.config", "saev.workflow", "saev.tools", "saev.api"}


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "saev"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "common.py").write_text("X = 1\n")
    (folder / "lazy.py").write_text("Y = 2\n")
    (folder / "train.py").write_text(
        '"""Doc."""\nfrom saev import common\n\n\ndef go(a):\n    """Doc."""\n'
        '    from .lazy import Y\n    return a + common.X + Y + len("b")\n'
    )
    return tmp_path


def changed(package: Path, name: str, old: str, new: str) -> bool:
    before = module_digest("saev.train", package)
    path = package / "saev" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return module_digest("saev.train", package) != before


def test_the_closure_holds_lazy_and_relative_imports(package):
    assert list(closure("saev.train", package)) == [
        "saev",
        "saev.common",
        "saev.lazy",
        "saev.train",
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Doc."""\nfrom', '"""Other words."""\n# a comment\nfrom'),
        ('    """Doc."""\n', ""),
        ('"b"', "'b'"),
        ("return a + common.X + Y", "return (\n        a + common.X + Y)"),
    ],
)
def test_words_quotes_and_wrapping_change_nothing(package, old, new):
    new = new.replace("Y)", "Y\n    )") if new.endswith("Y)") else new
    if "return (" in new:
        old, new = 'Y + len("b")', 'Y\\\n        + len("b")'
    assert not changed(package, "train.py", old, new)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("train.py", "a + common", "a - common"),
        ("train.py", '"b"', '"c"'),
        ("common.py", "1", "1.0"),
        ("common.py", "X = 1", "X = True"),
        ("lazy.py", "2", "3"),
        ("__init__.py", "", "Z = 1\n"),
    ],
)
def test_a_statement_in_any_imported_module_changes_it(package, name, old, new):
    assert changed(package, name, old, new)


@pytest.mark.parametrize("name", ["__repr__", "_repr_html_"])
def test_how_an_object_looks_changes_nothing(package, name):
    methods = f"class C:\n    y = 1\n\n    def {name}(self):\n        return 'c'\n"
    assert not changed(package, "common.py", "X = 1", "X = 1")
    (package / "saev/common.py").write_text(f"X = 1\n\n\n{methods}")
    assert not changed(package, "common.py", "'c'", "'d'")
    assert changed(package, "common.py", f"def {name}", "def other")


@pytest.mark.parametrize("test", ["TYPE_CHECKING", "typing.TYPE_CHECKING"])
def test_what_only_type_checkers_import_is_not_in_the_closure(package, test):
    (package / "saev/typed.py").write_text("Z = 1\n")
    path = package / "saev/common.py"
    path.write_text(f"if {test}:\n    from saev.typed import Z\nelse:\n    from saev import lazy\n")
    assert list(closure("saev.common", package)) == ["saev", "saev.common", "saev.lazy"]
    path.write_text(path.read_text().replace(test, f"not {test}"))
    assert "saev.typed" in closure("saev.common", package)


def test_swapped_operands_are_told_apart(package):
    assert changed(package, "train.py", "a + common.X", "common.X + a")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_no_other_stage(stage):
    modules = list(closure(f"saev.{stage}.__main__"))
    others = [f"saev.{other}.__main__" for other in STAGES if other != stage]
    wrong = [
        module
        for module in modules
        for name in [*FORBIDDEN[stage], *EVERYWHERE, *others]
        if module == name or module.startswith(f"{name}.")
    ]
    assert wrong == []


@pytest.mark.slow
def test_the_digest_is_the_same_in_every_python_version():
    seen = {module_digest("saev.core.files")}
    command = (
        "from saev.workflow.digests import module_digest; print(module_digest('saev.core.files'))"
    )
    candidates = [shutil.which(f"python3.{minor}") for minor in range(11, 15)]
    candidates += [str(p) for p in Path.home().glob(".pyenv/versions/3.1[1-9]*/bin/python")]
    for python in filter(None, candidates):
        done = subprocess.run(
            [python, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            seen.add(done.stdout.strip())
    assert len(seen) == 1


def project_requirements() -> dict[str, list[Requirement]]:
    """Requirements of pyproject.toml: those of the package ("") and those of each extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    kinds = {"": project["dependencies"], **project["optional-dependencies"]}
    return {kind: [Requirement(line) for line in lines] for kind, lines in kinds.items()}


def pins() -> dict[str, str]:
    """Version of each package in constraints.txt, by its normalised name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in lines]
    assert all(found), "constraints.txt holds a line that is no exact pin"
    return {canonicalize_name(match[1]): match[2] for match in found}


@pytest.mark.parametrize("kind", project_requirements())
def test_every_range_of_the_project_has_a_floor_and_holds_the_pin(kind):
    pinned = pins()
    for needed in project_requirements()[kind]:
        assert any(one.operator == ">=" for one in needed.specifier), f"{needed} has no floor"
        assert needed.specifier.contains(pinned[canonicalize_name(needed.name)]), needed


def test_every_library_that_the_package_imports_is_declared():
    declared = {
        canonicalize_name(one.name)
        for kind in ("", "demo", "projection")
        for one in project_requirements()[kind]
    }
    declared.add("triton")  # PyTorch brings it where there can be a GPU
    imported = {
        name.split(".")[0]
        for path in [*(ROOT / "saev").rglob("*.py"), *(ROOT / "demo").glob("*.py")]
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [one.name for one in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    makers = packages_distributions()
    for name in imported - sys.stdlib_module_names - {"saev", "demo"}:
        found = {canonicalize_name(maker) for maker in makers.get(name, [name])}
        assert found & declared, f"{name} is imported but not declared"


def test_the_environment_file_holds_the_pins_of_the_package_and_of_all_that_jobs_may_need():
    kinds = ("", "demo", "projection")
    needed = [one.name for kind in kinds for one in project_requirements()[kind]]
    environment = yaml.safe_load((ROOT / "envs/saev.yaml").read_text())
    assert environment["dependencies"][-1]["pip"] == [
        f"{name}=={pins()[canonicalize_name(name)]}" for name in needed
    ]


def test_digests_of_code_are_remembered_until_a_file_of_code_changes(tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(hashes, "module_digest", lambda name: looked.append(name) or f"of {name}")
    for state, told in (("a", 1), ("a", 1), ("b", 2)):
        monkeypatch.setattr(hashes, "sources_digest", partial(str, state))
        memory = hashes.Hashes(tmp_path / "hashes.json")
        assert memory.module("demo.openmoji") == "of demo.openmoji"
        memory.save()
        assert len(looked) == told
        assert len(remembered(tmp_path / "hashes.json")) == 1


def test_a_file_with_another_content_of_equal_size_and_time_is_hashed_again(tmp_path):
    table, memory = tmp_path / "sites.csv", hashes.Hashes(tmp_path / "hashes.json")
    table.write_text("path,site\n0.png,north\n")
    stat, first = table.stat(), memory.of(str(table))
    table.write_text("path,site\n0.png,south\n")
    os.utime(table, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert memory.of(str(table)) != first


@pytest.mark.slow
def test_a_job_refuses_code_that_changes_while_it_imports_it(tmp_path):
    project = Project.create(tmp_path / "project", n_images=90)
    with (project.folder / "saev/activations/recording.py").open("a") as file:
        file.write(
            "\n_other = Path(__file__).with_name('moments.py')\n"
            "_other.write_text(_other.read_text() + 'NEW = 1\\n')\n"
        )
    done = project.snakemake("activations", check=False)
    said = done.stdout + done.stderr
    assert "the code of saev.activations changed after this run was planned" in said
    assert not list((project.folder / "results").rglob("*.npy"))


def test_the_memory_of_digests_sees_every_file_of_code(tmp_path):
    (tmp_path / "saev/core").mkdir(parents=True)
    seen = set()
    for name, text in (("core/a.py", ""), ("core/a.py", "1"), ("core/b.js", "1"), ("b.py", "1")):
        (tmp_path / "saev" / name).write_text(text)
        seen.add(sources_digest(tmp_path))
    assert len(seen) == 4


def test_every_module_that_no_digest_counts_is_there():
    for name in EXEMPT:
        place = ROOT / name.replace(".", "/")
        assert place.is_dir() or place.with_suffix(".py").is_file(), name


def other_pythons() -> list[str]:
    """Pythons of other versions that this machine has."""
    here = f"python3.{sys.version_info.minor}"
    folders = [*map(Path, os.get_exec_path()), *Path.home().glob(".pyenv/versions/3.*/bin")]
    found = {}
    for minor in range(11, 20):
        for folder in folders:
            path = folder / f"python3.{minor}"
            if path.name != here and path.is_file() and answers(str(path)):
                found.setdefault(minor, str(path))
    return list(found.values())


def answers(python: str) -> bool:
    done = subprocess.run([python, "-c", ""], capture_output=True, check=False)
    return done.returncode == 0


def test_digests_are_the_same_in_every_version_of_python():
    program = (
        # The table of stages imports packages that those Pythons lack.
        "from unittest.mock import MagicMock\n"
        "for name in ('stage', 'stages'): sys.modules[f'saev.workflow.{name}'] = MagicMock()\n"
        "from saev.workflow.digests import module_digest\n"
        f"for stage in {STAGES}: print(module_digest(f'saev.{{stage}}.__main__'))"
    )
    pythons = other_pythons()
    if not pythons:
        pytest.skip("this machine has one Python")
    said = {
        python: subprocess.run(
            [python, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for python in pythons
    }
    expected = [module_digest(f"saev.{stage}.__main__") for stage in STAGES]
    assert said == dict.fromkeys(pythons, expected)
