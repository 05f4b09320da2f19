"""Finds which images have the same label, for a split that keeps them together (`held_out_by`).

A start of the workflow does this. So a training depends on the groups alone, and neither on the
code that reads labels nor on corrections that leave the groups as they are.
"""

import io
from pathlib import Path

import numpy as np

from saev.core import logs
from saev.core.errors import UserError
from saev.core.files import sha256_bytes, write_bytes
from saev.core.plan_file import groups_name
from saev.images.artifact import manifest_summary
from saev.labels.join import label_column, pieces
from saev.settings.labels import LabelSettings


def write_groups(where: str, name: str, source: LabelSettings, listing: Path, plans: Path) -> str:
    """Write for each listed image the row of the first image with the same label: (n,) int64.

    An image without a label is a group of its own.

    Args:
        where: the setting, for messages.
        name: the label; ``source``: where it comes from.
        listing: the images.
        plans: the folder to write to.

    Returns:
        SHA-256 of the file.

    Raises:
        UserError: the label can't be read, or no image has it.
    """
    groups = np.arange(manifest_summary(listing).n_images, dtype=np.int64)
    first: dict[str, int] = {}
    n_without = 0
    try:
        column = label_column(name, source, listing)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    for piece in pieces(listing):
        start = piece.column("row")[0].as_py()
        encoded = column(piece).dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        labelled = np.flatnonzero(codes >= 0)
        n_without += len(codes) - len(labelled)
        values, at, inverse = np.unique(codes[labelled], return_index=True, return_inverse=True)
        texts = encoded.dictionary.take(values).to_pylist()
        rows = [
            first.setdefault(text, start + int(labelled[i]))
            for text, i in zip(texts, at, strict=True)
        ]
        groups[start + labelled] = np.array(rows, np.int64)[inverse]
    if not first:
        raise UserError(f"{where}: no image has the label {name}, so there are no groups")
    if len(first) == 1 and not n_without:
        raise UserError(
            f"{where}: all images have the label {name} {next(iter(first))!r}, so no group can be "
            f"held out: name a label with more values"
        )
    if n_without:
        logs.say(
            f"{where}: {n_without:,} of {len(groups):,} images have no label {name}; each is a "
            f"group of its own"
        )
    held = io.BytesIO()
    np.save(held, groups)
    sha256 = sha256_bytes(held.getvalue())
    path = plans / groups_name(sha256)
    if not path.exists() or path.read_bytes() != held.getvalue():
        write_bytes(path, held.getvalue())
    return sha256
