"""`saev check`: finds stale and altered results, from the results alone.

It doesn't need Snakemake's records. The `meta.json` of a result names its files and inputs with
their SHA-256, and its `run.json` has the digest of the code that made it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from saev.activations.artifact import ALL_SHARDS, described_files, shard_json, shard_rows
from saev.activations.artifact import STAGE as ACTIVATIONS
from saev.analyze.artifact import CODES, labels_of
from saev.analyze.artifact import STAGE as ANALYZE
from saev.core.errors import UserError
from saev.core.files import read_json, sha256_bytes
from saev.core.locks import Lock
from saev.core.made import MADE, read_made, rule_of
from saev.core.meta import META, RUN, altered_files
from saev.core.state import STATE
from saev.images.artifact import STAGE as IMAGES
from saev.labels.artifact import STAGE as LABELS
from saev.tools.check_inputs import Finding, images_as_recorded, labels_as_analysed
from saev.workflow.digests import code_digest, module_digest
from saev.workflow.known_elsewhere import CONVERSION
from saev.workflow.stages import BY_NAME, LEVELS, RULES, STAGES, upstream

PAGE_BYTES = 64 << 20
"""Up to this size in bytes, the data or the thumbnails of a page are hashed at every check."""
DESCRIPTIONS = (".json", ".parquet")
"""Endings of files that say what others hold: they are hashed at every check."""


def check(results: str | Path, deep: bool = False) -> tuple[list[Finding], int]:
    """Look at every result under ``results``.

    Args:
        results: the folder of results.
        deep: compare SHA-256 of all files, those of activations, pages and source images too, not
            sizes alone.

    Returns:
        what is wrong or wasn't looked at, and the number of results.
    """
    results = Path(results)
    codes = {stage.name: code_digest(stage) for stage in STAGES}
    programs = (CONVERSION, *(rule.module for _, rule in RULES.values() if rule.module))
    codes |= {module: module_digest(module) for module in programs}
    found = sorted(path for path in _completions(results) if STATE not in path.parts)
    findings: list[Finding] = []
    for path in found:
        findings += _guarded(path, lambda path: _result(results, path, codes, deep))
    # The page of all runs has no description, only a record.
    findings += _guarded(
        results / BY_NAME["gallery"].completion, lambda _: _as_made(results, results, codes, deep)
    )
    findings += _incomplete(results)
    return list(dict.fromkeys(findings)), len(found)


def _completions(results: Path) -> set[Path]:
    """The files that stages write last, wherever they are."""
    names = {stage.completion for stage in STAGES if stage.levels}
    return {path for name in names for path in results.rglob(name)}


def _guarded(path: Path, look: Callable[[Path], list[Finding]]) -> list[Finding]:
    """What ``look`` finds. If a description can't be read, that is a finding and not an error."""
    try:
        return look(path)
    except (UserError, KeyError, TypeError, ValueError, AttributeError) as error:
        return [Finding(path.parent, "altered", f"{path} can't be read ({error!r})")]


def _result(results: Path, path: Path, codes: dict[str, str], deep: bool) -> list[Finding]:
    folder, meta = path.parent, read_json(path)
    stage = BY_NAME[meta["stage"]]
    # Large files (activations, parts, large pages) are read only on request.
    findings = [
        Finding(folder, "altered", text)
        for entry in (described_files(meta) if stage.name == ACTIVATIONS else meta["files"])
        for text in altered_files(
            folder,
            [entry],
            deep or stage.completion == META or entry.get("bytes", 0) <= PAGE_BYTES,
        )
    ]
    if any(rule.each == "shard" for rule in stage.rules):
        findings += _shards(folder, meta, deep)
    findings += _as_made(results, folder, codes, deep)
    if stage.name == ACTIVATIONS and deep:
        findings += images_as_recorded(folder)
    if stage.name == ANALYZE:
        images = _upstream(results, folder, stage.name, IMAGES, meta)
        assert images is not None
        findings += labels_as_analysed(folder, meta, images.parent, deep)
    for name, large in stage.described.items():
        for path in sorted((folder / name).glob("*.json")):
            problems = altered_files(folder, read_json(path)["files"], deep or not large)
            what = folder / CODES if name == CODES else folder  # they can be removed alone
            findings += [Finding(what, "altered", text) for text in problems]
    return findings + _stale(results, folder, meta, codes)


def _shards(folder: Path, meta: dict[str, Any], deep: bool) -> list[Finding]:
    findings = []
    for number in range(meta["summary"]["n_shards"]):
        sidecar = folder / shard_json(number)
        if not sidecar.exists():
            findings.append(Finding(folder, "altered", f"{sidecar} is missing"))
            continue
        files, rows = read_json(sidecar)["files"], shard_rows(number)
        for entry in files:
            problems = altered_files(folder, [entry], deep or entry["name"] == rows)
            findings += [Finding(folder, "altered", text) for text in problems]
    if not findings:
        found = b"".join(
            (folder / shard_json(n)).read_bytes() for n in range(meta["summary"]["n_shards"])
        )
        (said,) = (e["sha256"] for e in described_files(meta) if e["name"] == ALL_SHARDS)
        if sha256_bytes(found) != said:
            text = f"{folder / ALL_SHARDS} were rewritten after the recording was sealed"
            findings.append(Finding(folder, "altered", text))
    return findings


def _as_made(results: Path, folder: Path, codes: dict[str, str], deep: bool) -> list[Finding]:
    """What is no longer as the records of jobs say: files, large ones on request; and where nothing
    else says them, code and inputs."""
    findings = []
    for record in sorted(folder.glob(f".*{MADE}")):
        made = read_made(record)
        for entry in [entry for entry in made.get("files", ()) if "sha256" in entry]:
            small = entry["name"].endswith(DESCRIPTIONS)
            problems = altered_files(folder, [entry], deep or small)
            findings += [Finding(folder, "altered", text) for text in problems]
        if "code" in made:
            stage, rule = RULES[rule_of(record)]
            module = rule.module or stage.module
            if made["code"] != codes[rule.module or stage.name]:
                text = f"the code of the rule {rule.name} ({module}) has changed since it ran"
                findings.append(Finding(folder, "stale", text, rule.name))
            findings += [
                one._replace(rule=rule.name)
                for one in _other_inputs(results, folder, stage.name, made)
            ]
    return list(dict.fromkeys(findings))


def _code_of(meta: dict[str, Any]) -> str:
    """Whose code has made a result: that of its stage, or of the conversion."""
    return CONVERSION if meta["summary"].get("converted") else str(meta["stage"])


def _stale(
    results: Path, folder: Path, meta: dict[str, Any], codes: dict[str, str]
) -> list[Finding]:
    findings = []
    stage = meta["stage"]
    run = folder / RUN
    if not run.exists():
        findings.append(
            Finding(folder, "altered", f"{run} is missing, so the code that made this is unknown")
        )
    elif read_json(run)["code"] not in (codes[_code_of(meta)], ""):
        module = BY_NAME[stage].module if _code_of(meta) == stage else CONVERSION
        text = f"the code of the stage {stage} ({module}) has changed since it was made"
        findings.append(Finding(folder, "stale", text))
    return findings + _other_inputs(results, folder, stage, meta)


def _other_inputs(results: Path, folder: Path, stage: str, meta: dict[str, Any]) -> list[Finding]:
    """Inputs that a description, or a record, lists and that have changed since."""
    findings = []
    for name, digest in meta["inputs"].items():
        made_from = _upstream(results, folder, stage, name, meta)
        if made_from is None or not made_from.exists():
            findings.append(Finding(folder, "stale", f"its input {name} is gone"))
        elif sha256_bytes(made_from.read_bytes()) != digest:
            findings.append(
                Finding(folder, "stale", f"its input {name} has changed since ({made_from})")
            )
    return findings


def _upstream(
    results: Path, folder: Path, stage: str, name: str, meta: dict[str, Any]
) -> Path | None:
    """The file whose SHA-256 the inputs of a result list under ``name``."""
    name, _, other = name.partition("/")
    made = upstream(name)
    if made is None:
        return None
    parts = dict(zip(LEVELS, folder.relative_to(results).parts, strict=False))
    if other:  # train/NAME: another dictionary than the one that it lies in; evaluate/NAME
        parts[str(made.component)] = other
    if made.name == LABELS:
        return labels_of(folder, meta["settings"]) / made.completion
    if BY_NAME[stage].levels == LEVELS and made.of_images:
        parts["images"] = meta["settings"].get("on") or parts["images"]
    return made.place(results, parts) / made.completion


def _incomplete(results: Path) -> list[Finding]:
    """Resumable states that no job uses, left by stopped runs."""
    findings = []
    for path in sorted(results.rglob(STATE)):
        states = [p for p in path.iterdir() if p.is_dir()]
        if not [p for p in states if not Lock(p.with_name(f"{p.name}.lock"), "").held()]:
            continue
        complete = any((path.parent / stage.completion).exists() for stage in STAGES)
        text = (
            "holds the state of a stopped run with other settings or code: saev gc removes it"
            if complete
            else "was stopped; running the workflow again resumes it"
        )
        findings.append(Finding(path.parent, "left over" if complete else "incomplete", text))
    return findings
