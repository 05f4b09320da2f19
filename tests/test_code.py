"""The digest of a stage's code: what changes it, what doesn't, and which modules lie in it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from saev.code import ROOT, closure, code_digest

STAGES = {
    "images": "saev.images",
    "activations": "saev.activations",
    "train": "saev.train",
    "analyze": "saev.analyze",
    "dashboard": "saev.dashboard.__main__",
}
# What must never be in a stage's closure: a change there would rerun the stage for nothing.
FORBIDDEN = {
    "images": ["saev.vit", "saev.activations", "saev.sae", "saev.train", "saev.analyze"],
    "activations": ["saev.sae", "saev.train", "saev.analyze", "saev.dashboard"],
    "train": ["saev.vit", "saev.activations", "saev.analyze", "saev.dashboard", "saev.decode"],
    "analyze": ["saev.vit", "saev.activations", "saev.train", "saev.dashboard"],
    "dashboard": ["saev.vit", "saev.activations", "saev.train", "saev.analyze"],
}
EVERYWHERE = {
    *("saev.settings.config", "saev.plan", "saev.code", "saev.check", "saev.cli"),
    *("saev.door", "saev.explorer"),
    "saev.housekeeping",
}


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
    before = code_digest("saev.train", package)
    path = package / "saev" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return code_digest("saev.train", package) != before


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
    modules = list(closure(STAGES[stage]))
    wrong = [
        module
        for module in modules
        for name in [*FORBIDDEN[stage], *EVERYWHERE]
        if module == name or module.startswith(f"{name}.")
    ]
    assert wrong == []


@pytest.mark.slow
def test_the_digest_is_the_same_in_every_python_version():
    seen = {code_digest("saev.stage")}
    command = "from saev.code import code_digest; print(code_digest('saev.stage'))"
    candidates = [shutil.which(f"python3.{minor}") for minor in range(11, 15)]
    candidates += [str(p) for p in Path.home().glob(".pyenv/versions/3.1[1-9]*/bin/python")]
    for python in filter(None, candidates):
        done = subprocess.run(
            [python, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            seen.add(done.stdout.strip())
    assert len(seen) == 1


def test_the_pins_of_the_environment_file_are_those_of_the_project():
    import tomllib

    import yaml

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    environment = yaml.safe_load((ROOT / "envs/saev.yaml").read_text())
    assert environment["dependencies"][-1]["pip"] == project
    constraints = (ROOT / "constraints.txt").read_text().lower().replace("_", "-").splitlines()
    assert [pin for pin in project if pin.lower().replace("_", "-") not in constraints] == []
