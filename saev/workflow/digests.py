"""Digest of a stage's code: the part of this project that can change a byte of its result.

Paths of results don't depend on code. Instead, this digest is in the parameter of each rule. If a
statement changes that can change a result, Snakemake reruns the stage and everything after it. The
digest covers the syntax trees of the stage's module and of all modules of this project that it
imports, directly or indirectly.

What can't change a result doesn't count: comments, docstrings, quotes, line breaks, the Python
version, the modules in `EXEMPT`, texts of errors, log lines, progress and help, and how objects
look (`__repr__`).
`tests/test_golden.py` checks this: it makes the artifacts of every stage again and compares bytes.
"""

import ast
import hashlib
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeGuard

from saev.core.planned import ROOT
from saev.workflow.stage import Stage
from saev.workflow.stages import STAGES

_IN_WHEEL = Path(__file__).resolve().with_name("files")
FILES = _IN_WHEEL if _IN_WHEEL.is_dir() else ROOT
"""The folder of the Snakefile, the rules and the demo: the clone, or a part of the package that a
wheel installed (`envs/wheel.py`)."""

EXEMPT = {
    "saev.activations.depth": "what is said of images that look black",
    "saev.activations.verified": "which files were hashed before",
    "saev.core.errors": "what is said when something is wrong",
    "saev.core.frame": "arguments, log and end of a job",
    "saev.core.interrupts": "how a stop is said",
    "saev.core.locks": "who waits for whom",
    "saev.core.logs": "what is said",
    "saev.core.machine": "device and threads, which change no byte or are in no digest by design",
    "saev.core.made": "what was made before, and a check that refuses",
    "saev.core.once": "which work was done before",
    "saev.core.plan_file": "where the plan lies",
    "saev.core.planned": "a check that refuses",
    "saev.core.progress": "what is said meanwhile",
    "saev.core.shown": "how objects look in a notebook",
    "saev.core.provenance": "run.json, which is no result",
    "saev.core.stop": "how a program ends that is asked to",
    "saev.core.system_errors": "what is said when the machine refuses",
    "saev.core.typed": "checks of shapes",
    "saev.compare.comparison_plot": "how a comparison looks",
    "saev.sae.showing": "how dictionaries look in a notebook",
    "saev.settings": "names, neutral values that never change, and checks that refuse",
    "saev.train.conversion": "dictionaries from elsewhere, whose jobs have its digest as their own",
    "saev.train.last_state": "a state that is no result, for `saev accept`",
    "saev.train.learning_plot": "how curves look",
    "saev.train.memory": "whether vectors are held or streamed",
    "saev.train.sink": "the mirror in W&B",
}
"""Modules, or packages, that can't change a byte of a result, and why."""

DATA_FILES = {"saev.dashboard.page": ("*.html", "*.css", "*.js")}
"""Files under `assets/` beside a module that end up in results, which imports don't reveal."""

MESSAGE_ONLY = ("UserError", "ValueError", "TypeError", "RuntimeError", "IndexError", "OSError")
"""Errors whose text is only for people. The text of `BadImage` isn't: it is recorded."""
SAYING = ("logs.say", "logs.note")
"""Calls that only say something."""
HELP = ("help", "metavar")
"""Keywords of `add_argument` with texts for people."""
LOOKS = ("__repr__", "_repr_html_")
"""Methods that only show an object to people."""


def is_exempt(module: str) -> bool:
    """Whether a module is in `EXEMPT`, or inside a package in `EXEMPT`."""
    return any(module == name or module.startswith(f"{name}.") for name in EXEMPT)


def code_digest(stage: Stage, root: Path = ROOT) -> str:
    """Digest of the code that can change what a stage makes: 16 hex digits."""
    return module_digest(f"{stage.module}.__main__", root)


def module_digest(module: str, root: Path = ROOT) -> str:
    """Digest of the code that ``module`` may run, and of the files that it shows: 16 hex digits.

    Raises:
        ValueError: there is no such module.
        SyntaxError: a file isn't Python.
    """
    total = hashlib.sha256()
    found = closure(module, root)
    for name, path in found.items():
        total.update(f"{name}\0{_dumped(path, path.stat().st_mtime_ns)}\0".encode())
    for path in _data_files(found):
        total.update(f"{path.name}\0".encode())
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


def _data_files(found: dict[str, Path]) -> Iterator[Path]:
    for name in found.keys() & DATA_FILES.keys():
        assets = found[name].with_name("assets")
        yield from sorted(path for glob in DATA_FILES[name] for path in assets.glob(glob))


def closure(
    module: str, root: Path = ROOT, leave_out: Callable[[str], bool] = is_exempt
) -> dict[str, Path]:
    """Find the modules of this project that ``module`` may import, itself and packages included.

    Imports inside functions count. Imports for type checkers don't, because they never run. Only
    static imports are found.

    Args:
        module: dotted name of the module.
        root: the folder that holds the project.
        leave_out: tells which modules to leave out, with what only they import. ``module`` itself
            always counts.

    Returns:
        the file of each module by its dotted name, sorted.

    Raises:
        ValueError: there is no such module.
    """
    packages = {module.partition(".")[0], "saev"}
    if _file(module, root) is None:
        raise ValueError(f"no module {module} under {root}")
    found: dict[str, Path] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        path = _file(name, root)
        if name in found or path is None or (leave_out(name) and name != module):
            continue
        found[name] = path
        parts = name.split(".")
        todo += [".".join(parts[:i]) for i in range(1, len(parts))]
        imported = _imports(name, path, path.stat().st_mtime_ns)
        todo += [n for n in imported if n.partition(".")[0] in packages]
    return dict(sorted(found.items()))


def _file(module: str, root: Path) -> Path | None:
    for folder in (ROOT, FILES) if root == ROOT else (root,):
        base = folder.joinpath(*module.split("."))
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None


@cache
def _tree(path: Path, changed: int) -> ast.Module:
    return ast.parse(path.read_bytes(), filename=str(path))


@cache
def _dumped(path: Path, changed: int) -> str:
    return dump(_tree(path, changed))


@cache
def _imports(module: str, path: Path, changed: int) -> tuple[str, ...]:
    """Dotted names that ``module`` imports; `from a import b` may mean the module a.b."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: list[str] = []
    todo: list[ast.AST] = [_tree(path, changed)]
    while todo:
        node = todo.pop()
        inside = node.orelse if _is_type_checking(node) else ast.iter_child_nodes(node)
        # No expression holds an import.
        todo += (child for child in inside if not isinstance(child, ast.expr))
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    # `import a.b.c` also runs a and a.b. The caller adds these parents.
    return tuple(names)


def _is_type_checking(node: ast.AST) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and ast.unparse(node.test) in (
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    )


def dump(node: object) -> str:
    """Write the parts of a syntax tree that count as text, equal for every Python version.

    `ast.dump` differs between versions, because they add fields. This leaves out empty fields.
    """
    if isinstance(node, ast.AST):
        parts = []
        for name in sorted(node._fields):
            value = getattr(node, name, None)
            if name in ("ctx", "kind", "type_comment", "type_ignores") or value in (None, []):
                continue
            value = _counted(node, name, value)
            if value not in (None, []):
                parts.append(f"{name}={_constant(value) if name == 'value' else dump(value)}")
        return f"{type(node).__name__}({','.join(parts)})"
    if isinstance(node, list):
        return f"[{','.join(dump(item) for item in node)}]"
    return _constant(node)


def _constant(value: object) -> str:
    if isinstance(value, (ast.AST, list)):
        return dump(value)
    return f"{type(value).__name__}:{value!r}"


def _counted(node: ast.AST, field: str, value: object) -> object:
    """The part of a node's field that can change a result, without texts for people."""
    if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
        return list(_statements(value))
    if isinstance(node, ast.Assert) and field == "msg":
        return None
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        if field in ("args", "keywords") and name in (*MESSAGE_ONLY, "Progress"):
            return None
        if field == "keywords" and name.endswith(".add_argument"):
            return [k for k in node.keywords if k.arg not in HELP]
    return value


def _statements(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """The statements that count: all but those that only say something or import exempt modules."""
    for node in body:
        if isinstance(node, ast.Expr) and (
            _is_text(node)
            or (isinstance(node.value, ast.Call) and ast.unparse(node.value.func) in SAYING)
        ):
            continue
        if isinstance(node, ast.If) and _only_says(node):
            continue
        if isinstance(node, ast.FunctionDef) and node.name in LOOKS:
            continue
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            kept = [a for a in node.names if not is_exempt(f"{node.module}.{a.name}")]
            if not kept or is_exempt(node.module):
                continue
            yield ast.ImportFrom(module=node.module, names=kept, level=0)
            continue
        yield node


def _only_says(node: ast.If) -> bool:
    """Whether an `if` without calls in its condition only decides what is said."""
    calls = any(isinstance(n, (ast.Call, ast.NamedExpr)) for n in ast.walk(node.test))
    return not calls and not [*_statements(node.body), *_statements(node.orelse)]


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def main(arguments: list[str]) -> None:
    """Print the digest of a module, for a job that compares it with its plan's."""
    (module,) = arguments
    stage = next((stage for stage in STAGES if stage.module == module), None)
    print(code_digest(stage) if stage else module_digest(module))


if __name__ == "__main__":
    main(sys.argv[1:])
