"""The layout shows the architecture: packages only, imports one way, no two names for one thing or
one for two."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from project import python

from saev.workflow.digests import ROOT
from saev.workflow.stages import RULES, STAGES, as_markdown

ORDER = (
    *("core", "settings", "elsewhere", "images", "activations", "sae", "train", "compare"),
    *("labels", "analyze", "evaluate", "dashboard", "api", "workflow", "parity", "tools"),
)
"""Packages, each of which may import those before it."""
SHARED_NAMES = ("__init__", "__main__", "artifact")
"""Names of modules that mean the same in every package."""
PACKAGE = ROOT / "saev"


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, in which `__init__` is the package itself."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of the package that a module imports anywhere, also for type checkers."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.add(inner if inner in known else node.module)
    return {name for name in names if name in known}


def test_saev_holds_packages_only():
    assert [p.name for p in PACKAGE.glob("*.py")] == ["__init__.py"]
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders == set(ORDER)


def test_imports_go_one_way():
    known = modules()
    wrong = []
    for name, path in known.items():
        parts = name.split(".")
        for other in imported(path, known) if len(parts) > 1 else ():
            package = other.split(".")[1:2]
            if package and ORDER.index(package[0]) > ORDER.index(parts[1]):
                wrong.append(f"{name} imports {other}")
    assert wrong == []


def test_no_module_imports_itself_over_others():
    known = modules()
    # A package's own file stands for nothing but its docstring, or for a list of what it offers.
    graph = {name: imported(path, known) - {name} for name, path in known.items()}
    state: dict[str, int] = {}

    def visit(name: str, way: tuple[str, ...]) -> None:
        if state.get(name) == 1:
            raise AssertionError(f"a circle of imports: {' → '.join((*way, name))}")
        if name in state:
            return
        state[name] = 1
        for other in sorted(graph[name]):
            visit(other, (*way, name))
        state[name] = 2

    for name in graph:
        visit(name, ())


def test_no_two_modules_share_a_name():
    places = defaultdict(list)
    for name, path in modules().items():
        if path.stem not in SHARED_NAMES:
            places[path.stem].append(name)
    # The settings of a component have the name of the package that uses them.
    shared = {
        stem: where
        for stem, where in places.items()
        if len([one for one in where if not one.startswith("saev.settings.")]) > 1
    }
    assert shared == {}


def test_no_two_classes_share_a_name():
    places = defaultdict(list)
    for name, path in modules().items():
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_no_module_is_called_like_one_of_the_standard_library():
    assert [name for name, path in modules().items() if path.stem in sys.stdlib_module_names] == []


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_one_word_names_a_stage_everywhere(stage):
    package = PACKAGE / (stage.package or stage.name)
    assert (package / "__main__.py").is_file()
    assert (package / "artifact.py").is_file()
    text = (ROOT / "rules" / f"{stage.name}.smk").read_text()
    assert [f"rule {rule.name}:" in text for rule in stage.rules] == [True] * len(stage.rules)
    if stage.name != "gallery":
        assert f"rule {stage.name}:" in text
    programs = {stage.module, *(rule.module for rule in stage.rules if rule.module)}
    assert [f"python -m {program} " in text for program in programs] == [True] * len(programs)


def test_the_help_of_a_stage_calls_it_as_one_types_it():
    for words in (["saev.images"], ["saev.compare", "curves"]):
        command = [sys.executable, "-m", *words, "--help"]
        helped = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert helped.stdout.startswith(f"usage: python -m {' '.join(words)} [-h]")


def test_every_worker_rule_stands_in_the_table():
    found = set()
    for path in sorted((ROOT / "rules").glob("*.smk")):
        lines = path.read_text().splitlines()
        found |= {line[5:-1] for line in lines if line.startswith("rule ")}
    targets = {stage.name for stage in STAGES}
    assert found - targets - {"parity", "match_runs"} == set(RULES)


def test_only_artifacts_know_the_names_of_files():
    names = {
        name.rsplit("/", 1)[-1]
        for _, rule in RULES.values()
        for name in rule.outputs.values()
        if "{" not in name
    }
    allowed = {path for path in modules().values() if path.stem == "artifact"}
    allowed.add(PACKAGE / "core/meta.py")
    wrong = []
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_bytes())) if path not in allowed else ():
            if isinstance(node, ast.Constant) and node.value in names:
                wrong.append(f"{name}:{node.lineno} {node.value!r}")
    for path in sorted((ROOT / "rules").glob("*.smk")):
        wrong += [f"{path.name} {n!r}" for n in names if f'{n}"' in path.read_text()]
    assert wrong == []


def test_the_docs_show_the_table_of_stages():
    text = (ROOT / "docs/architecture.md").read_text()
    assert "\n".join(as_markdown()) in text


def headings(page):
    """The anchors that GitHub makes of the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    found = [line.replace("`", "").lower() for line in re.findall(r"^#+ (.*)", text, re.M)]
    return {re.sub(r"[^\w -]", "", line).replace(" ", "-") for line in found}


def test_links_of_the_docs_lead_somewhere_and_the_readme_links_every_page():
    readme, docs = ROOT / "README.md", set((ROOT / "docs").glob("*.md"))
    linked, broken = {readme: set()}, []
    for page in [readme, ROOT / "benchmarks/README.md", *docs]:
        for path, _, anchor in re.findall(r"\]\(([^)#\s:]*)(#?)([^)\s:]*)\)", page.read_text()):
            other = (page.parent / path).resolve() if path else page
            linked.setdefault(page, set()).add(other)
            if not other.exists() or (anchor and anchor not in headings(other)):
                broken.append(f"{page.name}: {path}#{anchor}")
    assert broken == []
    assert docs <= linked[readme]


def test_a_job_loads_pytorch_only_when_it_computes_something():
    """It takes seconds, and the short jobs do without."""
    code = "; ".join(
        f"import saev.{stage}.__main__"
        for stage in (
            "images",
            "activations",
            "compare",
            "labels",
            "analyze",
            "evaluate",
            "dashboard",
        )
    )
    assert python(f"{code}; import sys; print('torch' in sys.modules)").strip() == "False"
