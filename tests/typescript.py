"""Writes `saev/dashboard/assets/types.d.ts` from the classes of `saev/dashboard/structures.py`.

python -m tests.typescript
"""

import ast
import dataclasses
import inspect
import textwrap
import types
from typing import (
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from saev.analyze import columns
from saev.dashboard import evaluated, run_costs, structures
from saev.dashboard.page import ASSETS

PATH = ASSETS / "types.d.ts"
HEADER = "// Written by tests/typescript.py (make format) from saev/dashboard/structures.py.\n"
UNIONS = (Union, types.UnionType)
PLAIN = {str: "string", int: "number", float: "number", bool: "boolean"}
PLAIN |= {types.NoneType: "null", Any: "unknown"}
ALIASES = {"Heat": structures.Heat, "Directions": structures.Directions}
ALIASES |= {"Format": columns.Format}


def declarations() -> str:
    """The whole file: an interface for each class, a type for each alias."""
    known = [one for module in (evaluated, run_costs, structures) for one in vars(module).values()]
    classes = dict.fromkeys(c for c in known if is_typeddict(c) or dataclasses.is_dataclass(c))
    aliases = [f"type {name} = {written(hint)};\n" for name, hint in ALIASES.items()]
    return "\n".join([HEADER, *map(interface, classes), *aliases])


def interface(structure: type) -> str:
    """A class of named fields as an interface, with its docstrings as comments."""
    notes, lines = field_notes(structure), []
    for name, hint in get_type_hints(structure, include_extras=True).items():
        if name in notes:
            lines.append(comment(notes[name], 2))
        needed = "?" if get_origin(hint) is NotRequired else ""
        lines.append(f"  {name}{needed}: {written(hint)};")
    body = "\n".join(lines)
    about = comment(inspect.getdoc(structure) or "")
    return f"{about}\ninterface {structure.__name__} {{\n{body}\n}}\n"


def written(hint: Any) -> str:
    """A Python type as one of TypeScript.

    Raises:
        KeyError: nothing here knows how to write it.
    """
    kind, inner = get_origin(hint), get_args(hint)
    if kind in UNIONS:
        return " | ".join(map(written, inner))
    if kind is NotRequired:
        return written(inner[0])
    if kind is Literal:
        return " | ".join(f'"{value}"' for value in inner)
    if kind is list:
        element = written(inner[0])
        return f"({element})[]" if get_origin(inner[0]) in UNIONS else f"{element}[]"
    if kind is dict:
        return f"Record<{written(inner[0])}, {written(inner[1])}>"
    if is_typeddict(hint) or dataclasses.is_dataclass(hint):
        return hint.__name__
    return PLAIN[hint]


def field_notes(structure: type) -> dict[str, str]:
    """The string below a field is its docstring; Python itself forgets it."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(structure))).body
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(note.value.value)
        for field, note in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(note, ast.Expr) and isinstance(note.value, ast.Constant)
    }


def comment(text: str, indent: int = 0) -> str:
    """A docstring as a comment, in lines of 100 columns at most."""
    text = " ".join(text.replace("None", "null").split())
    lines = textwrap.wrap(text, 100 - len(" * ") - indent)
    short = len(text) <= 100 - len("/**  */") - indent
    lines = [f"/** {text} */"] if short else ["/**", *(f" * {line}" for line in lines), " */"]
    return textwrap.indent("\n".join(lines), " " * indent)


if __name__ == "__main__":
    PATH.write_text(declarations(), encoding="utf-8")
