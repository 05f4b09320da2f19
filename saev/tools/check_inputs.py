"""What `saev check` says of your images and labels: whether results came from them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet

from saev.activations.artifact import Activations
from saev.core.errors import UserError, listed
from saev.core.files import read_json, sha256_bytes, sha256_file
from saev.core.meta import META
from saev.images.artifact import MANIFEST, Images, write_manifest
from saev.labels.source_labels import labels_digest
from saev.settings.images import source_of

UNSEEN = "not seen"
ENTRIES = 4096
"""Images that are looked up at once."""


class Finding(NamedTuple):
    """Something that is wrong with a result, or that wasn't looked at."""

    folder: Path
    kind: str
    """``altered``, ``gone``, ``stale``, ``incomplete``, ``left over``; ``not seen`` if nothing is
    wrong."""
    text: str
    rule: str = ""
    """The rule that it is about, if that alone has to run again."""


def images_as_recorded(folder: Path) -> Iterator[Finding]:
    """Images that have other contents than when they were recorded, or are gone.

    Args:
        folder: directory of the activations.
    """
    try:
        images, activations = Images(folder.parent), Activations(folder)
    except UserError as error:
        yield Finding(folder, "altered", f"its images weren't looked at: {error}")
        return
    wrong: list[str] = []
    gone = unread = 0
    for start in range(0, images.n_images, ENTRIES):
        entries = images.read(start, start + ENTRIES)
        records = activations.records(start, start + ENTRIES).column("sha256").to_pylist()
        for entry, sha256 in zip(entries, records, strict=True):
            if sha256 is None:
                unread += 1
                continue
            try:
                if sha256_bytes(images.source.read(entry)) != sha256:
                    wrong.append(entry.key)
            except FileNotFoundError:
                gone += 1
            except (OSError, UserError) as error:
                wrong.append(f"{entry.key} (can't be read: {error})")
    where = images.source.where
    if wrong:
        text = f"{len(wrong):,} images of {where} have other contents than when recorded:"
        yield Finding(folder, "altered", listed(wrong, text))
    if gone:
        text = (
            f"{gone:,} of {images.n_images:,} images of {where} are gone: put them back or, if "
            f"you moved them, change the path in the settings and run the workflow, which makes "
            f"nothing again"
        )
        yield Finding(folder, "gone", text)
    if unread:
        text = f"{unread:,} images of {where} that couldn't be read when they were recorded"
        yield Finding(folder, UNSEEN, text)


def labels_as_analysed(
    folder: Path, meta: dict[str, Any], images: Path, deep: bool
) -> Iterator[Finding]:
    """Labels that have changed since an analysis, or that can't be compared.

    An analysis of earlier labels is fine if there is one of the present labels beside it.

    Args:
        folder: directory of the analysis; its ``meta``.
        images: directory of the images that it looked at.
        deep: list the source again, to compare the labels that it brings.
    """
    for name, label in meta["settings"].get("labels", {}).items():
        if label.get("folder") or ("source" in label and not deep):
            continue
        try:
            now = _present(label, images)
        except UserError as error:
            yield Finding(folder, UNSEEN, f"the label {name}: {error}")
            continue
        others = folder.parent.glob(f"{folder.name.rpartition('-')[0]}-*/{META}")
        analysed = [read_json(path)["settings"].get("labels", {}).get(name) for path in others]
        if now != _then(label, images) and now not in [_then(o, images) for o in analysed if o]:
            of = label.get("table") or f"column {label['source']} of the images"
            yield Finding(folder, "stale", f"the label {name} ({of}) has changed since")


def _then(label: dict[str, Any], images: Path) -> str | None:
    """SHA-256 of the labels, or of their table, with which an analysis was made."""
    if "sha256" in label or "source" not in label:
        return label.get("sha256")
    return labels_digest(images / MANIFEST, label["source"])


def _present(label: dict[str, Any], images: Path) -> str | None:
    """The same as it is now.

    Raises:
        UserError: it can't be looked at; says why.
    """
    if "table" not in label:
        return _present_digest(Images(images), label["source"])
    if not Path(label["table"]).is_file():
        raise UserError(f"its table {label['table']} isn't there")
    return sha256_file(label["table"])


def _present_digest(images: Images, column: str) -> str | None:
    """SHA-256 of a column of the source as it is now.

    Raises:
        UserError: the source can't be listed, or lists other images.
    """
    if source_of(images.settings) == "hub":
        raise UserError(f"{images.source.where} is elsewhere; its revision states its content")
    with tempfile.TemporaryDirectory() as folder:
        present = Path(folder, MANIFEST)
        write_manifest(present, "", images.source)
        keys = (
            pyarrow.parquet.read_table(path, columns=["key"])
            for path in (present, images.path / MANIFEST)
        )
        if not next(keys).equals(next(keys)):
            raise UserError(f"{images.source.where} holds other images now")
        return labels_digest(present, column)
