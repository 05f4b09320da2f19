"""What mixes run on: a small part of the images, and settings for a short training."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from saev.core.errors import UserError, listed, printable
from saev.core.files import canonical_json, read_json, sha256_bytes, write_json
from saev.core.plan_file import PLANS
from saev.dashboard.artifact import STAGE as DASHBOARD
from saev.images.artifact import MANIFEST, Entry, Images
from saev.images.sources import open_source
from saev.images.sources.source import GROUP_ROWS, SOURCE, Source
from saev.settings.elsewhere import CHECKPOINT
from saev.settings.images import SOURCE_SETTINGS, source_of
from saev.workflow.known_towers import Towers, without_file
from saev.workflow.plan import Plan
from saev.workflow.stages import BY_NAME, LEVELS

SHARD = 256
"""Images in a shard of the recording: as few as can be, so that there are several."""
USUAL_PATCHES = 196
"""For towers of which only the recording knows how many patches an image has."""
LIST = "images.json"
"""Written last into a set of images."""


class Subject(NamedTuple):
    """Settings of one run, whatever the working folder."""

    config: dict[str, Any]
    told: str
    """What it is, for people."""
    links: Mapping[str, str] = MappingProxyType({})
    """What relative paths in the settings begin with, and where that lies."""


def small(plan: Plan, n_images: int, steps: int, cache: Path) -> Subject:
    """A part of the images of the first run of ``plan``, and a short training of its dictionary.

    Args:
        n_images: number of images, at even distances in the listing.
        steps: steps of the training.
        cache: folder for copies of the images.

    Raises:
        UserError: the images aren't listed yet, or they or the weights aren't there.
    """
    run = plan.runs[0]
    kinds = _kinds(run)
    names = {kind: plan.component(kind, run[kind])["entry"] for kind in kinds}
    given = {
        kind: absolute(json.loads(json.dumps(_given(plan.component(kind, run[kind])))))
        for kind in kinds
    }
    entries, n_listed = _chosen(plan, run["images"], n_images)
    images = given["images"]
    source = open_source(plan.settings("images", run["images"]).moved(_absolute))
    given["images"] = {
        **{k: v for k, v in images.items() if k not in _PLACED},
        **_copied(source, source_of(images), entries, cache),
    }
    vit = given["vit"]
    if vit.pop("made", False) and not Path(vit["weights"]).is_file():
        raise UserError(f"{vit['weights']} isn't there yet: run snakemake --cores all activations")
    vit["shard_images"] = SHARD
    if vit.get("layers"):  # the output of the tower is of no layer
        vit["layers"] = _with_neighbours(vit["layers"])
    each = _vectors(plan, run, given["sae"]["tokens"])
    given["sae"] = _short(given["sae"], len(entries) * each, steps)
    given["analysis"].pop("on", None)
    config: dict[str, Any] = {kind: {names[kind]: given[kind]} for kind in kinds}
    config |= {
        "runs": [names],
        "compute": _compute(plan.data["config"]),
    }
    trained = "converted" if CHECKPOINT in given["sae"] else f"trained for {steps} steps"
    told = (
        f"{len(entries):,} of the {n_listed:,} images of {names['images']}, {names['vit']}, "
        f"{names['sae']} {trained}, {names['analysis']}"
    )
    return Subject(config, told)


_PLACED = (*SOURCE_SETTINGS, "made", "n_images", "version", "image", "key", "split", "revision")
"""Settings of images that say where they lie."""


def frozen(results: Path) -> tuple[Subject, dict[str, str]]:
    """The settings of the first finished run in a folder of results, and names of its directories.

    Raises:
        UserError: it holds no finished run, or not the plan that it was made with.
    """
    for path in sorted((results / PLANS).glob("*.json"), key=lambda p: -p.stat().st_mtime):
        data = read_json(path)
        # Plans of the first versions don't hold all settings.
        for run in data.get("runs", ()) if isinstance(data, dict) and "config" in data else ():
            page = BY_NAME[DASHBOARD]
            if not (page.place(results, run) / page.completion).is_file():
                continue
            plan = Plan(data, str(results))
            kinds = _kinds(run)
            names = {kind: plan.component(kind, run[kind])["entry"] for kind in kinds}
            home = results.resolve().parent
            given = {kind: _from(home, _given(plan.component(kind, run[kind]))) for kind in names}
            # Directories are named after settings, so paths stay as they were written.
            begins = {name for one in given.values() for name in _begins(one, home)}
            links = {name: str(home / name) for name in sorted(begins)}
            config: dict[str, Any] = {kind: {names[kind]: one} for kind, one in given.items()}
            config |= {"runs": [names], "compute": _compute(data["config"])}
            told = f"the frozen results in {results} ({', '.join(names.values())})"
            return Subject(config, told, links), {k: v for k, v in run.items() if v}
    raise UserError(
        f"{results} holds no run that was made to the end, with a plan in {PLANS} that says what "
        f"its settings were (the first versions of saev didn't): give the folder results/ of a "
        f"project, or compare revisions"
    )


def require_images(results: Path, names: Mapping[str, str]) -> None:
    """Check that a folder of images still has those that frozen results were made from.

    Raises:
        UserError: some are missing, or have another size.
    """
    images = Images(BY_NAME["images"].place(results, names))
    if source_of(images.settings) != "folder":
        return
    folder = results.resolve().parent / images.source.where
    wrong = [
        printable(entry.key)
        for start in range(0, images.n_images, GROUP_ROWS)
        for entry in images.read(start, start + GROUP_ROWS)
        if not (path := folder / entry.key).is_file() or path.stat().st_size != entry.bytes
    ]
    if wrong:
        raise UserError(
            listed(wrong, f"{folder} hasn't got the images that {results} was made from:")
            + "\nPut these images back: new code must see what the old code saw."
        )


def _kinds(run: Mapping[str, str]) -> tuple[str, ...]:
    """The components of a run that have settings of their own, in the order in which data flows."""
    return (*LEVELS, *(kind for kind in ("evaluation",) if kind in run))


PATHS = (*SOURCE_SETTINGS, "weights", "model", "table", "curve", CHECKPOINT)
"""Settings that may be paths."""


def _from(home: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in which paths that lead out of ``home`` are absolute."""
    found = dict(given)
    for key, value in given.items():
        if isinstance(value, dict):
            found[key] = _from(home, value)
        elif key in PATHS and isinstance(value, str) and value.startswith("../"):
            found[key] = str(home / value)
    return found


def _begins(given: Mapping[str, Any], home: Path) -> Iterator[str]:
    """The first parts of relative paths in settings, of which something lies in ``home``."""
    for key, value in given.items():
        if isinstance(value, dict):
            yield from _begins(value, home)
        elif key in PATHS and isinstance(value, str) and not Path(value).is_absolute():
            first = Path(value).parts[0]
            if first != ".." and (home / first).exists():
                yield first


def absolute(given: dict[str, Any]) -> dict[str, Any]:
    """Settings of one component with absolute paths, where a setting is a path."""
    found = dict(given)
    for key in PATHS:
        value = found.get(key)
        if isinstance(value, str) and key != "hub":
            path = Path.cwd() / value
            if path.exists() or any(c in value for c in "*?["):
                found[key] = str(path)
    if isinstance(found.get("labels"), dict):
        found["labels"] = {k: absolute(v) for k, v in found["labels"].items()}
    return found


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def _given(known: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in {**known["loose"], **known["settings"]}.items() if v is not None}


def _compute(config: Mapping[str, Any]) -> dict[str, Any]:
    given = config.get("compute") or {}
    kept = ("device", "threads", "workers")
    return {"wandb": "disabled", **{k: given[k] for k in kept if k in given}}


def _with_neighbours(layers: list[int]) -> list[int]:
    """Layers, and those before them: an off-by-one then shows as another recorded layer."""
    return sorted({*layers, *(n - 1 for n in layers if n != 0)})


def _vectors(plan: Plan, run: Mapping[str, str], tokens: str) -> int:
    """How many vectors an image gives."""
    if tokens != "patches":
        return 1
    settings, known = plan.settings("vit", run["vit"]), plan.component("vit", run["vit"])
    sha256 = settings.weights_sha256 or known["resolved"].get("weights_sha256")
    tower = without_file(settings.model_copy(update={"weights_sha256": sha256}))
    towers = Towers(Path(plan.results, PLANS, "towers.json"))
    return towers.check({known["entry"]: tower})[known["entry"]].n_patches or USUAL_PATCHES


def _short(given: Mapping[str, Any], n_vectors: int, steps: int) -> dict[str, Any]:
    """A training of about ``steps`` steps, in which latents can be dead for a while.

    A dictionary that was trained elsewhere stays as it is.
    """
    if CHECKPOINT in given:
        return dict(given)
    dropped = ("held_out_by", "patience", "min_improvement", "processes")
    sae = {k: v for k, v in given.items() if k not in dropped}
    left = n_vectors * (1 - sae.get("held_out", 0))
    batch = sae["batch_size"] = max(8, min(sae["batch_size"], int(left // 4)))
    sae["epochs"] = round(steps * batch / left, 2)
    soon = max(batch, steps * batch // 16)
    sae["dead_after"] = min(sae.get("dead_after", 100_000), soon)
    if sae.get("resample_every"):
        sae["resample_every"] = min(sae["resample_every"], steps * batch // 4)
    sae["log_every"], sae["eval_every"] = max(1, steps // 20), max(1, steps // 4)
    return sae


def _chosen(plan: Plan, images: str, n: int) -> tuple[list[tuple[Entry, dict[str, Any]]], int]:
    """Entries of images at even distances in the listing, with the source's own columns."""
    import pyarrow.parquet as pq

    results = Path(plan.results)
    places = (results / images / MANIFEST, results / PLANS / f"{images}.parquet")
    listing = next((path for path in places if path.is_file()), None)
    if listing is None:
        raise UserError(
            f"the images of {images} aren't listed yet: run snakemake --cores all images"
        )
    with pq.ParquetFile(listing) as file:
        n_listed = file.metadata.num_rows
        rows = np.unique(np.linspace(0, n_listed - 1, min(n, n_listed)).astype(np.int64))
        found, start = [], 0
        for group in range(file.num_row_groups):
            here = rows[(rows >= start) & (rows < start + file.metadata.row_group(group).num_rows)]
            if len(here):
                found += file.read_row_group(group).take(here - start).to_pylist()
            start += file.metadata.row_group(group).num_rows
    return [
        (
            Entry(**{name: row[name] for name in Entry._fields if name in row}),
            {k: v for k, v in row.items() if k.startswith(SOURCE)},
        )
        for row in found
    ], n_listed


def _copied(
    source: Source[Any], kind: str, entries: list[tuple[Entry, dict[str, Any]]], cache: Path
) -> dict[str, Any]:
    """Copy images: files of a folder into a folder, others into a parquet file. Return where."""
    try:
        data = [source.read(entry) for entry, _ in entries]
    except OSError as error:
        raise UserError(f"{source.where}: can't read an image: {error}") from error
    digests = [[entry.key, sha256_bytes(d)] for (entry, _), d in zip(entries, data, strict=True)]
    found = canonical_json([kind, digests, [more for _, more in entries]])
    folder = cache.absolute() / sha256_bytes(found.encode())[:16]
    parquet = folder / "set.parquet"
    if not (folder / LIST).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "folder":
            for (entry, _), bytes_ in zip(entries, data, strict=True):
                path = folder / "images" / entry.key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(bytes_)
        else:
            _write_parquet(parquet, entries, data)
        write_json(folder / LIST, [entry.key for entry, _ in entries])
    return (
        {"folder": str(folder / "images")}
        if kind == "folder"
        else {"parquet": str(parquet), "image": "image", "key": "key"}
    )


def _write_parquet(
    path: Path, entries: list[tuple[Entry, dict[str, Any]]], data: list[bytes]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"image": pa.array(data, pa.binary())}
    columns["key"] = [entry.key for entry, _ in entries]
    for name in sorted({name for _, more in entries for name in more}):
        columns.setdefault(name.removeprefix(SOURCE), [more.get(name) for _, more in entries])
    pq.write_table(pa.table(columns), path)
