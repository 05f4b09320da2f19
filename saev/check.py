"""`saev check`: which results are stale or altered, told from the results alone.

Works without Snakemake's own records: each result's `meta.json` names its files and its inputs with
their SHA-256, and `run.json` the digest of the code that made it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from saev.artifacts.activations import ALL_SHARDS, shard_json
from saev.artifacts.meta import META, RUN, altered_files
from saev.code import code_digest
from saev.errors import UserError
from saev.files import read_json, sha256_bytes
from saev.locks import Lock
from saev.stage import STATE

MODULES = {
    "images": "saev.images",
    "activations": "saev.activations",
    "train": "saev.train",
    "analyze": "saev.analyze",
    "dashboard": "saev.dashboard.__main__",
}
RULES = {
    "images": "list_images",
    "activations": "record_shard",
    "train": "train_sae",
    "analyze": "analyze_shards",
    "dashboard": "build_dashboard",
}


class Finding(NamedTuple):
    """Something that is wrong with a result."""

    folder: Path
    kind: str
    """``altered``, ``stale``, ``incomplete`` or ``left over``."""
    text: str


def check(results: str | Path, deep: bool = False) -> tuple[list[Finding], int]:
    """Look at every result under ``results``.

    Args:
        results: the folder of results.
        deep: compare SHA-256 of all files, the shards of activations too, not their sizes alone.

    Returns:
        what is wrong, and how many results were looked at.
    """
    results = Path(results)
    codes = {stage: code_digest(module) for stage, module in MODULES.items()}
    stages = sorted(p for p in results.rglob(META) if ".state" not in p.parts)
    findings: list[Finding] = []
    for path in stages:
        findings += _guarded(path, lambda path: _result(results, path, codes, deep))
    pages = sorted(results.rglob("dashboard/summary.json"))
    for path in pages:
        findings += _guarded(path, lambda path: _page(results, path, codes, deep))
    findings += _incomplete(results)
    return findings, len(stages) + len(pages)


def _guarded(path: Path, look: Callable[[Path], list[Finding]]) -> list[Finding]:
    """What ``look`` finds; a description that isn't one is a finding itself, not the end."""
    try:
        return look(path)
    except (UserError, KeyError, TypeError, ValueError, AttributeError) as error:
        return [Finding(path.parent, "altered", f"{path} can't be read ({error!r})")]


def _result(results: Path, path: Path, codes: dict[str, str], deep: bool) -> list[Finding]:
    folder, meta = path.parent, read_json(path)
    findings = [
        Finding(folder, "altered", text) for text in altered_files(folder, meta["files"], deep=True)
    ]
    if meta["stage"] == "activations":
        findings += _shards(folder, meta, deep)
    if meta["stage"] == "analyze":
        for part in sorted((folder / "parts").glob("*.json")):
            problems = altered_files(folder, read_json(part)["files"], deep)
            findings += [Finding(folder, "altered", text) for text in problems]
    return findings + _stale(results, folder, meta, codes)


def _page(results: Path, path: Path, codes: dict[str, str], deep: bool) -> list[Finding]:
    summary = read_json(path)
    findings = [
        Finding(path.parent, "altered", text)
        for text in altered_files(path.parent, summary["files"], deep)
    ]
    return findings + _stale(results, path.parent, {**summary, "stage": "dashboard"}, codes)


def _shards(folder: Path, meta: dict[str, Any], deep: bool) -> list[Finding]:
    findings = []
    for number in range(meta["summary"]["n_shards"]):
        sidecar = folder / "shards" / f"{number:05d}.json"
        if not sidecar.exists():
            findings.append(Finding(folder, "altered", f"{sidecar} is missing"))
            continue
        problems = altered_files(folder, read_json(sidecar)["files"], deep)
        findings += [Finding(folder, "altered", text) for text in problems]
    if not findings:
        found = b"".join(
            (folder / shard_json(n)).read_bytes() for n in range(meta["summary"]["n_shards"])
        )
        (said,) = (e["sha256"] for e in meta["files"] if e["name"] == ALL_SHARDS)
        if sha256_bytes(found) != said:
            text = f"{folder / ALL_SHARDS} were written again after the recording was sealed"
            findings.append(Finding(folder, "altered", text))
    return findings


def _stale(
    results: Path, folder: Path, meta: dict[str, Any], codes: dict[str, str]
) -> list[Finding]:
    findings = []
    stage = meta["stage"]
    run = folder / RUN
    if not run.exists():
        findings.append(
            Finding(folder, "altered", f"{run} is missing: which code made it is unknown")
        )
    elif read_json(run)["code"] not in (codes[stage], ""):
        findings.append(
            Finding(
                folder, "stale", f"was made by other code of the stage {stage} ({MODULES[stage]})"
            )
        )
    for name, digest in meta["inputs"].items():
        upstream = _upstream(results, folder, stage, name, meta)
        if upstream is None or not upstream.exists():
            findings.append(Finding(folder, "stale", f"its input {name} is gone"))
        elif sha256_bytes(upstream.read_bytes()) != digest:
            findings.append(
                Finding(folder, "stale", f"its input {name} has changed since ({upstream})")
            )
    return findings


def _upstream(
    results: Path, folder: Path, stage: str, name: str, meta: dict[str, Any]
) -> Path | None:
    """The file whose SHA-256 stands under ``name`` in the inputs of a result."""
    images, *rest = folder.relative_to(results).parts
    on = meta["settings"].get("on") or images
    lineage = {
        "images": results / images / META,
        "activations": results.joinpath(images, *rest[:1]) / META,
        "sae": results.joinpath(images, *rest[:2]) / META,
        "train": results.joinpath(images, *rest[:2]) / META,
        "analysis": results.joinpath(images, *rest[:3]) / META,
        "analyze": results.joinpath(images, *rest[:3]) / META,
    }
    if stage in ("analyze", "dashboard"):
        lineage["activations"] = results.joinpath(on, *rest[:1]) / META
        lineage["images"] = results / on / META
    if name == "labels":
        return folder / "labels.parquet"
    return lineage.get(name)


def _incomplete(results: Path) -> list[Finding]:
    """Resumable state that no job is using: what a stopped run has left."""
    findings = []
    for path in sorted(results.rglob(STATE)):
        states = [p for p in path.iterdir() if p.is_dir()]
        if not [p for p in states if not Lock(p.with_name(f"{p.name}.lock"), "").held()]:
            continue
        complete = (path.parent / META).exists() or (path.parent / "summary.json").exists()
        text = (
            "holds the state of a stopped run with other settings or code: saev gc removes it"
            if complete
            else "was stopped; running the workflow again resumes it"
        )
        findings.append(Finding(path.parent, "left over" if complete else "incomplete", text))
    return findings
