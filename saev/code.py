"""Digest of a stage's code: the module and all of this project that it imports, transitively.

Code isn't in the paths of results; each rule holds this digest as part of its parameter instead, so
that Snakemake reruns a stage, and what comes after, when a statement changes that the stage can run.
What can't change a result doesn't count: comments, docstrings, quotes, wrapping, the Python version.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path
from typing import TypeGuard

ROOT = Path(__file__).resolve().parent.parent

# What a walk over imports can't see, listed by hand: data files that a module reads at run time.
DATA_FILES = {"saev.dashboard.__main__": "saev/dashboard/assets/*"}

# Settings classes hold no logic, only names, neutral values that never change, and checks that refuse.
# Their values are in the rule's parameter; a field added at its neutral value must rerun nothing.
NOT_CODE = ("saev.settings",)

DOCSTRING_OWNERS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def dump(node: object) -> str:
    """Write a syntax tree as text, the same for every Python version.

    `ast.dump` differs between versions, which add fields; here a field that is empty is left out.
    """
    if isinstance(node, ast.AST):
        parts = []
        for name in sorted(node._fields):
            value = getattr(node, name, None)
            if name in ("ctx", "kind", "type_comment", "type_ignores") or value in (None, []):
                continue
            if name == "body" and isinstance(node, DOCSTRING_OWNERS):
                value = [n for i, n in enumerate(value) if i > 0 or not _is_docstring(n)]
            parts.append(f"{name}={_constant(value) if name == 'value' else dump(value)}")
        return f"{type(node).__name__}({','.join(parts)})"
    if isinstance(node, list):
        return f"[{','.join(dump(item) for item in node)}]"
    return _constant(node)


def _constant(value: object) -> str:
    if isinstance(value, (ast.AST, list)):
        return dump(value)
    return f"{type(value).__name__}:{value!r}"


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def closure(module: str, root: Path = ROOT) -> dict[str, Path]:
    """Find the modules of this project that ``module`` may import, itself and packages included.

    Imports inside functions count, those for type checkers don't: they never run. Only static imports
    are seen. Settings classes are left out.

    Returns:
        file of each module, by its dotted name, sorted.

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
        if name in found or path is None or name.startswith(NOT_CODE):
            continue
        found[name] = path
        parts = name.split(".")
        todo += [".".join(parts[:i]) for i in range(1, len(parts))]
        todo += [n for n in _imports(name, path) if n.partition(".")[0] in packages]
    return dict(sorted(found.items()))


def _file(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _tree(path: Path, changed: int) -> ast.Module:
    return ast.parse(path.read_bytes(), filename=str(path))


def _parsed(path: Path) -> ast.Module:
    return _tree(path, path.stat().st_mtime_ns)


def _imports(module: str, path: Path) -> list[str]:
    """Dotted names that ``module`` imports; `from a import b` may mean the module a.b."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names = []
    todo: list[ast.AST] = [_parsed(path)]
    while todo:
        node = todo.pop()
        todo += node.orelse if _is_type_checking(node) else ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    # `import a.b.c` also runs a and a.b; the caller adds parents of what it finds.
    return names


def _is_type_checking(node: ast.AST) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and ast.unparse(node.test) in (
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
    )


def code_digest(module: str, root: Path = ROOT) -> str:
    """Digest of the code that ``module`` may run: 16 hex digits.

    Raises:
        ValueError: there is no such module.
        SyntaxError: a file isn't Python.
    """
    total = hashlib.sha256()
    for name, path in closure(module, root).items():
        total.update(f"{name}\0{dump(_parsed(path))}\0".encode())
    if module in DATA_FILES:
        for path in sorted(root.glob(DATA_FILES[module])):
            total.update(f"{path.name}\0".encode())
            total.update(path.read_bytes())
    return total.hexdigest()[:16]
