"""`saev check`: which results are stale or altered, told from the results alone.

Works without Snakemake's own records: each result's `meta.json` names its files and its inputs with
their SHA-256, and `run.json` the digest of the code that made it.
"""

from pathlib import Path
from typing import Any, NamedTuple

from saev.artifacts.meta import META, RUN, altered_files
from saev.code import code_digest
from saev.files import read_json, sha256_bytes

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
    """``altered``, ``stale`` or ``incomplete``."""
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
        folder = path.parent
        meta = read_json(path)
        findings += [
            Finding(folder, "altered", text)
            for text in altered_files(folder, meta["files"], deep=True)
        ]
        if meta["stage"] == "activations":
            findings += _shards(folder, meta, deep)
        findings += _stale(results, folder, meta, codes)
    pages = sorted(results.rglob("dashboard/summary.json"))
    for path in pages:
        summary = read_json(path)
        findings += [
            Finding(path.parent, "altered", text)
            for text in altered_files(path.parent, summary["files"], deep)
        ]
        findings += _stale(results, path.parent, {**summary, "stage": "dashboard"}, codes)
    findings += _incomplete(results)
    return findings, len(stages) + len(pages)


def _shards(folder: Path, meta: dict[str, Any], deep: bool) -> list[Finding]:
    findings = []
    for number in range(meta["summary"]["n_shards"]):
        sidecar = folder / "shards" / f"{number:05d}.json"
        if not sidecar.exists():
            findings.append(Finding(folder, "altered", f"{sidecar} is missing"))
            continue
        problems = altered_files(folder, read_json(sidecar)["files"], deep)
        findings += [Finding(folder, "altered", text) for text in problems]
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
    return [
        Finding(path.parent, "incomplete", "was stopped; running the workflow again resumes it")
        for path in sorted(results.rglob(".state"))
        if any(path.iterdir())
    ]
