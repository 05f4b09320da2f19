"""Slips in a settings file, by line and column: YAML that can't be read, values that YAML can't
make, keys given twice, and values that hold themselves."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import yaml

from saev.core.errors import UserError, listed

SECTIONS = "a mapping of sections (images, vit, sae, analysis, runs)"
KINDS = {"int": "number", "float": "number", "timestamp": "date", "bool": "true or false"}
"""What YAML makes of plain texts, by tag."""
NUMBER = re.compile(r"[-+]?\d+(e[-+]?\d+)?", re.IGNORECASE)
UNKNOWN = re.compile(r"constructor for the tag '(.*)'")


def require_yaml(path: str | Path) -> None:
    """Check that a settings file can be read, before Snakemake reads it and says less.

    Raises:
        UserError: there is no such file, it isn't YAML or JSON with keys at the top level, a value
            can't be made or holds itself, or a key is given twice. Names the line and the column,
            and shows the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = Path(path).read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: isn't UTF-8: save the file as UTF-8") from None
    except OSError as error:
        raise UserError(f"can't read the settings in {path}: {error.strerror}") from None
    lines = text.split("\n")
    try:
        node = yaml.compose(text, Loader=yaml.FullLoader)
    except yaml.MarkedYAMLError as error:
        if _is_json(text):
            return
        raise UserError(_explained(path, lines, error)) from None
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply to be read") from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise UserError(
            f"{path}, line {line}: {error.reason} (U+{error.character:04X}): remove it"
        ) from None
    if not isinstance(node, yaml.MappingNode):
        found = "is empty" if node is None else f"holds a {node.id} at its top level"
        raise UserError(f"{path}: {found}: it must be {SECTIONS}")
    slips = [
        *_loops(path, lines, node),
        *_twice(path, lines, node),
        *_commas(path, lines, node),
    ] or [*_odd(path, lines, node)]
    if slips:
        raise UserError(slips[0] if len(slips) == 1 else listed(slips, f"{path}:"))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _explained(path: str | Path, lines: list[str], error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return f"{path}: {error}"
    before = lines[mark.line][: mark.column + 1] if mark.line < len(lines) else ""
    began = error.context_mark
    text = f"{error.problem or error.context}"
    if began is not None and error.problem and began.line != mark.line:
        text += f" ({error.context}, which begins in line {began.line + 1})"
    if "\t" in before and not before.strip():
        text += ": indent with spaces, not with tabs"
    elif error.problem == "mapping values are not allowed here":
        text += ": put a text with a colon in quotes, or correct the indentation of the line"
    return _at(path, lines, mark, text)


def _at(path: str | Path, lines: list[str], mark: yaml.Mark, text: str) -> str:
    """A problem with its place, and the line."""
    place = f"{path}, line {mark.line + 1}, column {mark.column + 1}"
    line = lines[mark.line] if mark.line < len(lines) else ""
    shown = line.replace("\t", "→").rstrip() or "(the end of the file)"
    return f"{place}: {text}\n    {shown}\n    {' ' * mark.column}^"


def _loops(path: str | Path, lines: list[str], node: yaml.Node) -> Iterator[str]:
    """Values that hold themselves, through an alias of their own anchor."""
    outer: set[int] = set()
    done: set[int] = set()

    def inside(node: yaml.Node) -> Iterator[str]:
        if id(node) in outer:
            text = "this holds an alias of its own anchor (&), so it would never end: remove it"
            yield _at(path, lines, node.start_mark, text)
        if id(node) in done:
            return
        done.add(id(node))
        outer.add(id(node))
        for child in _children(node):
            yield from inside(child)
        outer.remove(id(node))

    yield from inside(node)


def _odd(path: str | Path, lines: list[str], top: yaml.Node) -> Iterator[str]:
    """Values that YAML can't make: dates and numbers that aren't any, and unknown tags."""
    loader = yaml.FullLoader("")
    scalars = [node for node in _nodes(top) if isinstance(node, yaml.ScalarNode)]
    for node in scalars:
        kind = KINDS.get(node.tag.rpartition(":")[2])
        try:
            if kind:
                loader.construct_object(node)
        except (ValueError, OverflowError, LookupError, AttributeError):
            yield _at(
                path,
                lines,
                node.start_mark,
                f"{node.value} is no {kind}, though YAML takes it for one: correct it, or put it "
                f"in quotes if it is a text",
            )
            return
    try:
        yaml.FullLoader("").construct_document(top)
    except yaml.MarkedYAMLError as error:
        tag = UNKNOWN.search(str(error.problem))
        if tag is None or error.problem_mark is None:
            yield _explained(path, lines, error)
            return
        name = tag[1].replace("tag:yaml.org,2002:", "!!")
        text = f"settings have no tag {name}: remove it, or put it in quotes if it is a text"
        yield _at(path, lines, error.problem_mark, text)


def _nodes(top: yaml.Node) -> Iterator[yaml.Node]:
    """A node and all in it, each once."""
    todo, done = [top], set()
    while todo:
        node = todo.pop()
        if id(node) not in done:  # else an alias
            done.add(id(node))
            todo += reversed([*_children(node)])
            yield node


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from (key, value)


def _commas(path: str | Path, lines: list[str], top: yaml.Node) -> Iterator[str]:
    """Numbers with a decimal comma between braces, such as ``{lr: 0,003}``, which YAML cuts."""
    for node in _nodes(top):
        if not isinstance(node, yaml.MappingNode) or not node.flow_style:
            continue
        for (_, whole), (part, nothing) in pairwise(node.value):
            digits = [getattr(one, "value", "") for one in (whole, part)]
            touches = whole.end_mark.index + 1 == part.start_mark.index
            if touches and not nothing.value and all(map(NUMBER.fullmatch, digits)):
                number, meant = ",".join(digits), ".".join(digits)
                text = f"YAML reads {number} as two entries: write {meant}"
                yield _at(path, lines, whole.start_mark, text)


def _twice(path: str | Path, lines: list[str], top: yaml.Node) -> Iterator[str]:
    """Keys of a mapping that are given twice. YAML would take the last one without a word."""
    for node in _nodes(top):
        if not isinstance(node, yaml.MappingNode):
            continue
        first: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                continue
            if key.value in first:
                text = f"{key.value} was given before, in line {first[key.value]}: keep one of them"
                yield _at(path, lines, key.start_mark, text)
            first.setdefault(key.value, key.start_mark.line + 1)
