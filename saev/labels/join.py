"""Reads the labels of the images from the sources in the settings, and joins them by key."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from saev.core import logs
from saev.core.errors import UserError, listed
from saev.core.files import atomic_path, sha256_file
from saev.core.plan_file import PLANS
from saev.images.artifact import MANIFEST, Images
from saev.images.sources.source import SOURCE
from saev.labels.artifact import PIECE, PREFIX, TABLE
from saev.labels.label_doubts import Kinds
from saev.labels.source_labels import as_labels, as_text, corrected, require_brought
from saev.labels.table_files import quotes_match, require_columns, stated_separator, uneven_rows
from saev.settings.labels import LabelSettings, LabelsResolved, LabelsSettings

NONE = pyarrow.array(["nan", "na", "n/a", "#n/a", "<na>", "nat", "null", "none"])
"""What programs write for no value. Some can be real labels (NA is Namibia)."""
Column = Callable[[pyarrow.RecordBatch], pyarrow.Array]
"""Makes the labels (text or null) for a piece of the manifest."""


def write_labels(
    settings: LabelsSettings,
    resolved: LabelsResolved,
    images_folder: str | Path,
    out: str | Path,
) -> dict[str, int]:
    """Write `labels.parquet` to ``out``: a row for each listed image, ``row`` and ``label.<name>``.

    Args:
        settings: where labels come from; resolved: SHA-256 of tables and of corrected columns.
        images_folder: `results/{images}`.

    Returns:
        how many images have each label.

    Raises:
        UserError: a label's table or column is missing or doesn't fit the images.
    """
    images = Images(images_folder)
    manifest = Path(images_folder) / MANIFEST
    columns = {}
    for name, source in sorted(settings.labels.items()):
        table = resolved.labels.get(name)
        stated = source if table is None else source.model_copy(update={"sha256": table.sha256})
        columns[name] = label_column(name, stated, manifest)
    schema = pyarrow.schema(
        [("row", pyarrow.int64()), *((PREFIX + name, pyarrow.string()) for name in columns)]
    )
    labelled = dict.fromkeys(columns, 0)
    doubtful: dict[str, Counter[str]] = {name: Counter() for name in columns}
    broken = dict.fromkeys(columns, 0)
    kinds = {name: Kinds() for name in columns}
    with (
        atomic_path(Path(out) / TABLE) as temporary,
        pyarrow.parquet.ParquetWriter(temporary, schema) as writer,
    ):
        # One row group for each part of an analysis, because a part reads whole groups.
        for batch in pieces(manifest):
            found = {name: make(batch) for name, make in columns.items()}
            for name, array in found.items():
                labelled[name] += len(array) - array.null_count
                kinds[name].add(array)
                doubtful[name].update(_doubtful(array))
                lines = pyarrow.compute.match_substring(array, "\n")
                broken[name] += pyarrow.compute.sum(lines, min_count=0).as_py()
            arrays = [batch.column("row"), *found.values()]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), PIECE)
    for name, n in labelled.items():
        logs.say(f"label {name}: {n:,} of {images.n_images:,} images have one")
        for doubt in kinds[name].doubts():
            logs.say(f"warning: label {name}: {doubt}")
        if broken[name]:
            logs.say(
                f"warning: label {name}: {broken[name]:,} images have labels of several lines. "
                f"Does the table lack the end of a quotation?"
            )
        for text, n_texts in sorted(doubtful[name].items()):
            logs.say(
                f"label {name}: {text!r} is the label of {n_texts:,} images. If it stands for "
                f"none, leave these fields empty"
            )
    return labelled


def _doubtful(labels: pyarrow.Array) -> dict[str, int]:
    """How many labels look like a program's word for none, by label."""
    odd = pyarrow.compute.is_in(pyarrow.compute.utf8_lower(labels), value_set=NONE)
    counts = pyarrow.compute.value_counts(labels.filter(odd))
    return {one["values"]: one["counts"] for one in counts.to_pylist()}


def pieces(manifest: Path) -> Iterator[pyarrow.RecordBatch]:
    """The rows of a manifest, piece by piece."""
    with pyarrow.parquet.ParquetFile(manifest) as file:
        yield from file.iter_batches(PIECE)


def label_column(name: str, source: LabelSettings, manifest: Path) -> Column:
    """What makes a label for pieces of a manifest.

    Raises:
        UserError: the label's table or column is missing or doesn't fit the images.
    """
    if source.folder:
        return _folder
    if source.source is not None:
        return _source_column(name, source, manifest)
    return _table_column(name, source, manifest)


def _folder(batch: pyarrow.RecordBatch) -> pyarrow.Array:
    keys = batch.column("key").to_pylist()
    if "offset" in batch.schema.names:  # members of tars, whose keys begin with the tar's name
        pairs = zip(keys, batch.column("file").to_pylist(), strict=True)
        keys = [key.removeprefix(f"{file}/").removeprefix("./") for key, file in pairs]
    return pyarrow.array([k.split("/")[0] if "/" in k else None for k in keys], pyarrow.string())


def _source_column(name: str, source: LabelSettings, manifest: Path) -> Column:
    wanted = str(source.source)
    if source.sha256 is not None:
        texts = corrected(f"labels.{name}.source", source.sha256, manifest.parent.parent / PLANS)
        return lambda batch: texts.slice(
            batch.column("row")[0].as_py(), len(batch)
        ).combine_chunks()
    require_brought(f"labels.{name}.source", wanted, manifest)
    return lambda batch: as_labels(batch.column(SOURCE + wanted))


def check_folders(name: str, listing: Path) -> None:
    """Check that images lie in folders, from which a label is made.

    Raises:
        UserError: none does.
    """
    if not any(_folder(piece).null_count < len(piece) for piece in pieces(listing)):
        raise UserError(
            f"labels.{name}.folder: no image lies in a folder within the source, so none has this "
            f"label: sort the images into folders, name a table, or leave the label out"
        )


def check_table(name: str, source: LabelSettings, listing: Path | None) -> None:
    """Check a label's table as the analysis will read it.

    Args:
        name: the label; ``source`` names its table.
        listing: the images; None if they aren't listed yet.

    Raises:
        UserError: the table can't be read, names an image twice, or names none of the images.
    """
    if listing is None:
        _keys_and_texts(name, source)
    else:
        _table_column(name, source, listing)


def _keys_and_texts(name: str, source: LabelSettings) -> tuple[pyarrow.Array, pyarrow.Array]:
    keys, texts = _read_table(name, source)
    keys = _normal(keys)
    _require_unique(f"labels.{name}.table: {source.table}", source.key, keys)
    return keys, texts


def _table_column(name: str, source: LabelSettings, manifest: Path) -> Column:
    keys, texts = _keys_and_texts(name, source)
    where = f"labels.{name}.table: {source.table}"
    matched = 0
    example: list[str] = []
    for batch in pieces(manifest):
        inside = pyarrow.compute.is_in(_normal(batch.column("key")), value_set=keys)
        matched += pyarrow.compute.sum(inside).as_py() or 0
        example = example or batch.column("key").slice(0, 3).to_pylist()
    if not matched:
        raise UserError(
            f"{where}: no key in this table matches an image. The table's column "
            f"{source.key!r} starts with {keys.slice(0, 3).to_pylist()}, the images with "
            f"{example}. Keys are paths relative to the images' folder, with /."
        )
    if matched < len(keys):
        logs.say(f"{where}: {len(keys) - matched:,} of {len(keys):,} keys match no image")

    def make(batch: pyarrow.RecordBatch) -> pyarrow.Array:
        return texts.take(pyarrow.compute.index_in(_normal(batch.column("key")), value_set=keys))

    return make


def _normal(keys: pyarrow.Array) -> pyarrow.Array:
    """Normalise keys, because file names and tables may write accents in two ways (NFC, NFD)."""
    return pyarrow.compute.utf8_normalize(keys, form="NFC")


def _read_table(name: str, source: LabelSettings) -> tuple[pyarrow.Array, pyarrow.Array]:
    """Read the key and the label column of a table, as text."""
    path, wanted = Path(str(source.table)), source.column or name
    where, key = f"labels.{name}.table: {path}", source.key
    if not path.is_file():
        raise UserError(f"labels.{name}.table: there is no file {path}")
    if source.sha256 not in (None, source.sha256 and sha256_file(path)):
        raise UserError(
            f"{where} was changed: its SHA-256 isn't the one in the settings, or that of the "
            f"workflow's start ({str(source.sha256)[:12]}…). Restore it, set the new SHA-256, or "
            f"start the workflow again if you gave none (a new table makes a new analysis)."
        )
    try:
        delimiter = require_columns(where, path, key, wanted)
        table = _load(where, path, [key, wanted], delimiter)
        keys = as_text(table.column(key).combine_chunks())
        texts = as_labels(table.column(wanted).combine_chunks())
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{where} can't be read: {error}. Keys and labels must be text or numbers, in UTF-8"
        ) from error
    # Spreadsheets write separators for rows that look empty.
    filled = pyarrow.compute.or_(keys.is_valid(), texts.is_valid())
    keys, texts = keys.filter(filled), texts.filter(filled)
    if len(texts) and texts.null_count == len(texts):
        raise UserError(f"{where}: the column {wanted!r} is empty in all rows")
    return keys, texts


def _load(where: str, path: Path, columns: list[str], delimiter: str) -> pyarrow.Table:
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path, columns=columns)
    # Read everything as text, so that a label 007 stays 007. An empty field is no label.
    options = pyarrow.csv.ConvertOptions(
        include_columns=list(dict.fromkeys(columns)),
        column_types=dict.fromkeys(columns, pyarrow.string()),
        strings_can_be_null=True,
        null_values=[""],
        quoted_strings_can_be_null=True,
    )
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    try:
        if quotes_match(path):
            read = pyarrow.csv.ReadOptions(skip_rows=1 if stated_separator(path) else 0)
            return pyarrow.csv.read_csv(path, read, parse, options)
    except pyarrow.ArrowInvalid:
        pass
    # Arrow wants the same number of fields in each row, which spreadsheets don't write. And it
    # takes all that follows an open quote for one field.
    return uneven_rows(where, path, columns, delimiter)


def _require_unique(where: str, key: str, keys: pyarrow.Array) -> None:
    if keys.null_count:
        raise UserError(
            f"{where}: {keys.null_count:,} rows have no {key!r}, but a label: write "
            f"there which image each of them means, or remove these rows"
        )
    counts = pyarrow.compute.value_counts(keys)
    often = counts.filter(pyarrow.compute.greater(counts.field("counts"), 1))
    if len(often):
        problems = [f"{v['values']} ({v['counts']} times)" for v in often.to_pylist()]
        raise UserError(listed(problems, f"{where} names the same image in several rows:", 5))
