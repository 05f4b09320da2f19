"""Labels of the images, from where the settings say, joined by the manifest's key."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from saev import logs
from saev.artifacts.analysis import LABELS, PART, PREFIX
from saev.artifacts.images import MANIFEST, SOURCE, Images
from saev.errors import UserError, listed
from saev.files import atomic_path, sha256_file

"""The manifest's columns that the source of the images brings are called ``source.<name>``."""

Column = Callable[[pyarrow.RecordBatch], pyarrow.Array]
"""Makes the labels (text or null) of a piece of the manifest."""


def write_labels(settings: dict[str, Any], images_folder: str | Path, out: str | Path) -> None:
    """Write `labels.parquet` to ``out``: a row for each listed image, ``row`` and ``label.<name>``.

    Args:
        settings: the analysis' settings.
        images_folder: `results/{images}`.

    Raises:
        UserError: a label's table or column is missing or doesn't fit the images.
    """
    images = Images(images_folder)
    manifest = Path(images_folder) / MANIFEST
    sources = settings.get("labels", {})
    columns = {name: _column(name, sources[name], manifest) for name in sorted(sources)}
    schema = pyarrow.schema(
        [("row", pyarrow.int64()), *((PREFIX + name, pyarrow.string()) for name in columns)]
    )
    labelled = dict.fromkeys(columns, 0)
    with (
        atomic_path(Path(out) / LABELS) as temporary,
        pyarrow.parquet.ParquetWriter(temporary, schema) as writer,
    ):
        # A group is what a part reads.
        for batch in _pieces(manifest):
            found = {name: make(batch) for name, make in columns.items()}
            for name, array in found.items():
                labelled[name] += len(array) - array.null_count
            arrays = [batch.column("row"), *found.values()]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), PART)
    for name, n in labelled.items():
        logs.say(f"label {name}: {n:,} of {images.n_images:,} images have one")


def _pieces(manifest: Path) -> Iterator[pyarrow.RecordBatch]:
    with pyarrow.parquet.ParquetFile(manifest) as file:
        yield from file.iter_batches(PART)


def _column(name: str, source: dict[str, Any], manifest: Path) -> Column:
    if source.get("folder"):
        return _folder
    if source.get("source") is not None:
        return _source_column(name, source["source"], manifest)
    return _table_column(name, source, manifest)


def _folder(batch: pyarrow.RecordBatch) -> pyarrow.Array:
    keys = batch.column("key").to_pylist()
    return pyarrow.array([k.split("/")[0] if "/" in k else None for k in keys], pyarrow.string())


def _source_column(name: str, wanted: str, manifest: Path) -> Column:
    names = pyarrow.parquet.read_schema(manifest).names
    if SOURCE + wanted not in names:
        brought = [n.removeprefix(SOURCE) for n in names if n.startswith(SOURCE)]
        raise UserError(
            f"labels.{name}.source: the images bring no column {wanted!r}; they bring: "
            f"{', '.join(brought) or 'none'}"
        )
    return lambda batch: _text(batch.column(SOURCE + wanted))


def _table_column(name: str, source: dict[str, Any], manifest: Path) -> Column:
    keys, texts = _read_table(name, source)
    where = f"labels.{name}.table: {source['table']}"
    _require_unique(where, source.get("key", "path"), keys)
    matched = 0
    example: list[str] = []
    for batch in _pieces(manifest):
        inside = pyarrow.compute.is_in(batch.column("key"), value_set=keys)
        matched += pyarrow.compute.sum(inside).as_py() or 0
        example = example or batch.column("key").slice(0, 3).to_pylist()
    if not matched:
        raise UserError(
            f"{where}: no image has a key of this table. The table's column "
            f"{source.get('key', 'path')!r} begins with {keys.slice(0, 3).to_pylist()}, the images with "
            f"{example}. Keys are paths relative to the images' folder, with /."
        )
    if matched < len(keys):
        logs.say(f"{where}: {len(keys) - matched:,} of {len(keys):,} keys match no image")

    def make(batch: pyarrow.RecordBatch) -> pyarrow.Array:
        return texts.take(pyarrow.compute.index_in(batch.column("key"), value_set=keys))

    return make


def _read_table(name: str, source: dict[str, Any]) -> tuple[pyarrow.Array, pyarrow.Array]:
    """Read the key and the label column of a table, as text."""
    path, wanted = Path(source["table"]), source.get("column") or name
    where, key = f"labels.{name}.table: {path}", source.get("key", "path")
    if not path.is_file():
        raise UserError(f"labels.{name}.table: there is no file {path}")
    if source.get("sha256") and sha256_file(path) != source["sha256"]:
        raise UserError(
            f"{where} has another SHA-256 than the settings say ({source['sha256'][:12]}…): it was "
            f"changed. Bring it back, or state the new SHA-256 (that makes a new analysis)."
        )
    try:
        names = _names(path)
        missing = [column for column in (key, wanted) if column not in names]
        if missing:
            raise UserError(
                f"{where} has no column {' or '.join(map(repr, missing))}; its columns are: "
                f"{', '.join(names)}. Set `key` and `column` to two of them."
            )
        double = [column for column in (key, wanted) if names.count(column) > 1]
        if double:
            raise UserError(f"{where} has several columns called {double[0]!r}: rename all but one")
        table = _load(path, [key, wanted])
        texts = [_text(table.column(column).combine_chunks()) for column in (key, wanted)]
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(
            f"{where} can't be read: {error}. Keys and labels must be text or numbers, in UTF-8"
        ) from error
    return texts[0], texts[1]


def _names(path: Path) -> list[str]:
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_schema(path).names
    with pyarrow.csv.open_csv(path) as reader:
        return reader.schema.names


def _load(path: Path, columns: list[str]) -> pyarrow.Table:
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path, columns=columns)
    # Everything is text, so that a label 007 stays what it is; an empty field is no label.
    options = pyarrow.csv.ConvertOptions(
        include_columns=list(dict.fromkeys(columns)),
        column_types=dict.fromkeys(columns, pyarrow.string()),
        strings_can_be_null=True,
        null_values=[""],
        quoted_strings_can_be_null=True,
    )
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    return pyarrow.csv.read_csv(path, parse_options=parse, convert_options=options)


def _text(column: pyarrow.Array) -> pyarrow.Array:
    """A column as text; an empty text and NaN are no label."""
    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pyarrow.types.is_floating(column.type):
        column = pyarrow.compute.if_else(pyarrow.compute.is_nan(column), None, column)
    column = column.cast(pyarrow.string())
    return pyarrow.compute.if_else(pyarrow.compute.equal(column, ""), None, column)


def _require_unique(where: str, key: str, keys: pyarrow.Array) -> None:
    if keys.null_count:
        raise UserError(f"{where}: {keys.null_count:,} rows have no {key!r}")
    counts = pyarrow.compute.value_counts(keys)
    often = counts.filter(pyarrow.compute.greater(counts.field("counts"), 1))
    if len(often):
        problems = [f"{v['values']} ({v['counts']} times)" for v in often.to_pylist()]
        raise UserError(listed(problems, f"{where} names the same picture in several rows:", 5))
