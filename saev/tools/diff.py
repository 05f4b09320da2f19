"""`saev diff`: finds the stage that makes two results differ, and shows by how much."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from saev.analyze.artifact import labels_of
from saev.core.errors import UserError
from saev.core.files import read_json
from saev.core.meta import RUN
from saev.labels.artifact import STAGE as LABELS
from saev.tools import texts, tree

NEUTRAL = "neutral"
ON = {"images": "analysed images", "vit": "analysed activations"}


class Difference(NamedTuple):
    """One difference between two results of a stage."""

    kind: str
    """``settings``, ``code``, ``inputs`` or ``files``."""
    what: str
    a: Any
    b: Any


def resolved(path: str, results: str) -> Path:
    """The directory ``path``, relative to the current folder or to the results.

    Raises:
        UserError: it doesn't exist.
    """
    for folder in (Path(path), Path(results, path)):
        if folder.is_dir():
            return folder.absolute()
    raise UserError(
        f"there is no directory {path}, nor {Path(results, path)}: saev ls lists all directories"
    )


def compare(a: Path, b: Path) -> tuple[list[str], bool]:
    """Compare two results of the same stage, and the results they were made from.

    Returns:
        lines to print, and whether anything differs.

    Raises:
        UserError: one is incomplete, or they are of different stages.
    """
    pair = [_lineage(path) for path in (a, b)]
    metas = [tree.read(path) for path in (a, b)]
    stages = [meta["stage"] for meta in metas]
    if stages[0] != stages[1]:
        raise UserError(
            f"{a.name} is a result of the stage {stages[0]}, {b.name} of {stages[1]}: name two "
            f"results of one stage"
        )
    lines, found = [f"A  {a}", f"B  {b}", ""], {}
    for name in [*pair[0], *(name for name in pair[1] if name not in pair[0])]:
        folders = [lineage.get(name) or lineage.get(_usual(name)) for lineage in pair]
        a_has, b_has = folders
        if a_has is None or b_has is None:  # it has no labels, as its settings show
            continue
        found[name] = differences(a_has, b_has)
        lines += [*_described(name, [a_has, b_has], found[name]), ""]
    lines += _figures(metas)
    return [*lines, "", verdict(found)], any(found.values())


def verdict(found: dict[str, list[Difference]]) -> str:
    """A sentence that names the stages whose settings or code differ."""
    causes = []
    for name, differing in found.items():
        kinds = [kind for kind in ("settings", "code") if any(d.kind == kind for d in differing)]
        if kinds:
            causes.append(f"{name} ({' and '.join(kinds)})")
    if causes:
        return f"The difference comes from: {', '.join(causes)}."
    if any(found.values()):
        names = [name for name, differing in found.items() if differing]
        return (
            f"{names[0]} has the same settings, code and inputs, but other bytes. Possible causes: "
            f"versions of libraries, the machine, or an altered result (saev check --deep)."
        )
    return "Settings, inputs, code and files are the same."


def differences(a: Path, b: Path) -> list[Difference]:
    """What differs between two results of one stage.

    Raises:
        UserError: one is incomplete.
    """
    one, other = tree.read(a), tree.read(b)
    codes = [{"code": _run(folder).get("code") or "unknown"} for folder in (a, b)]
    inputs = [{k: str(v)[:16] for k, v in meta["inputs"].items()} for meta in (one, other)]
    files = [
        {e["name"]: e["sha256"][:16] for e in meta["files"] if "sha256" in e}
        for meta in (one, other)
    ]
    return [
        *_differing("settings", _flat(one["settings"]), _flat(other["settings"]), NEUTRAL),
        *_differing("code", codes[0], codes[1]),
        *_differing("inputs", inputs[0], inputs[1]),
        *_differing("files", files[0], files[1]),
    ]


def _differing(
    kind: str, a: dict[str, Any], b: dict[str, Any], missing: str = "absent"
) -> Iterator[Difference]:
    for key in sorted({*a, *b}):
        if key not in a or key not in b or a[key] != b[key]:
            yield Difference(kind, key, a.get(key, missing), b.get(key, missing))


def _lineage(folder: Path) -> dict[str, Path]:
    """The chain of directories from the images to a result, by stage."""
    stage = tree.read(folder)["stage"]
    if stage not in tree.STAGES:
        raise UserError(
            f"{folder} is a result of the stage {stage!r}, which saev diff can't compare"
        )
    if stage == LABELS:
        return {tree.STAGES[0]: folder.parents[1], stage: folder}
    depth = tree.STAGES.index(stage)
    found = {stage: folder}
    for name, parent in zip(reversed(tree.STAGES[:depth]), folder.parents, strict=False):
        found = {name: parent, **found}
    meta = tree.read(folder)
    on = meta["settings"].get("on")
    if stage == "analyze" and on:
        images = folder.parents[3] / on
        looked = {ON["images"]: images, ON["vit"]: images / folder.parents[1].name}
        found = {**found, **looked, stage: found.pop(stage)}
    if LABELS in meta["inputs"]:
        read = {LABELS: labels_of(folder, meta["settings"])}
        found = {**found, **read, stage: found.pop(stage)}
    return found


def _usual(name: str) -> str:
    """The stage to compare with if an analysis looks at the images trained on."""
    return {ON["images"]: "images", ON["vit"]: "activations"}.get(name, name)


def _run(folder: Path) -> dict[str, Any]:
    try:
        run = read_json(folder / RUN)
    except UserError:
        return {}
    return run if isinstance(run, dict) else {}


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings or metrics to dotted keys."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = inner
    return flat


def _described(name: str, folders: list[Path], differing: list[Difference]) -> list[str]:
    names = " | ".join(dict.fromkeys(folder.name for folder in folders))
    if not differing:
        return [f"{name}: the same ({names})"]
    rows = [[f"  {d.kind}", d.what, str(d.a), "→", str(d.b)] for d in differing]
    versions = [_flat(_run(folder).get("versions") or {}) for folder in folders]
    rows += [
        ["  made with", d.what, str(d.a), "→", str(d.b)]
        for d in _differing("", versions[0], versions[1])
    ]
    return [f"{name}: {names}", *texts.table(rows)]


def _figures(metas: list[dict[str, Any]]) -> list[str]:
    """The metrics of both results side by side. Leaves out equal ones."""
    flat = [_flat(meta["summary"]) for meta in metas]
    numbers = [{k: v for k, v in f.items() if _is_number(v)} for f in flat]
    names = [name for name in numbers[0] if name in numbers[1]]
    rows = [
        [name, _shown(a), _shown(b), _shown(b - a, sign="+")]
        for name in names
        for a, b in [(numbers[0][name], numbers[1][name])]
        if a != b
    ]
    same = len(names) - len(rows)
    if not rows:
        return [f"metrics: all {same} are equal"]
    heading = [f"metrics ({same} more are equal)", "A", "B", "B − A"]
    return texts.table([heading, *rows], right={1, 2, 3})


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(number: float, sign: str = "") -> str:
    return format(number, f"{sign}," if isinstance(number, int) else f"{sign}.5g")
