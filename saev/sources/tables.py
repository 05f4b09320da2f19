"""Data sets with a column of images: of the Hugging Face hub, saved with `save_to_disk`, or parquet files.

All three are read by `datasets`, which maps Arrow files into memory; a hub data set and parquet files are
brought into that form once, in its cache (`HF_DATASETS_CACHE`). Code of a data set is never run.
"""

import errno
import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saev.artifacts.images import GROUP_ROWS, SOURCE, Entry
from saev.errors import UserError, listed
from saev.sources.base import Source, find_files, names_and_sizes

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset


class TableSource(Source):
    """A table with one picture a row."""

    @property
    def where(self) -> str:
        one = self.settings
        if one.hub is not None:
            return (
                f"{one.hub} ({one.config + ', ' if one.config else ''}{one.split}, {one.revision})"
            )
        return str(one.saved or one.parquet)

    def fingerprint(self) -> str:
        if self.settings.hub is not None:
            return str(self.settings.revision)
        base, names = self._files()
        return names_and_sizes((name, (base / name).stat().st_size) for name in names)

    def _files(self) -> tuple[Path, list[str]]:
        if self.settings.parquet is not None:
            return find_files("parquet", self.settings.parquet, ".parquet")
        folder = Path(str(self.settings.saved))
        if not folder.is_dir():
            raise UserError(f"saved: there is no folder {folder}")
        found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        return folder, [name for name in found if not Path(name).name.startswith(".")]

    @property
    def _base(self) -> Path:
        """What paths in the image column are relative to."""
        return Path() if self.settings.hub is not None else self._files()[0]

    @cached_property
    def _table(self) -> "Dataset":
        import datasets

        datasets.disable_progress_bars()
        logging.getLogger("datasets").setLevel(logging.ERROR)
        found = self._load()
        if isinstance(found, datasets.DatasetDict):
            if self.settings.split not in found:
                raise UserError(
                    f"{self.where} has no split {self.settings.split!r}; its splits are: "
                    f"{', '.join(found)}. Name one in `split`."
                )
            found = found[self.settings.split]
        wanted = [self.settings.image, *([self.settings.key] if self.settings.key else [])]
        missing = [name for name in wanted if name not in found.column_names]
        if missing:
            raise UserError(
                f"{self.where} has no column {' or '.join(map(repr, missing))}; its columns are: "
                f"{', '.join(found.column_names)}. Name the one with the pictures in `image`."
            )
        return found

    def _load(self) -> Any:
        import datasets

        one = self.settings
        try:
            if one.hub is not None:
                return datasets.load_dataset(
                    one.hub, one.config, split=one.split, revision=one.revision
                )
            if one.saved is not None:
                return datasets.load_from_disk(one.saved)
            base, names = self._files()
            return datasets.Dataset.from_parquet([str(base / name) for name in names])
        except Exception as error:
            # The library, its network client and Arrow have errors of their own for each mishap.
            text = str(error).strip().splitlines()
            reason = f"{type(error).__name__}: {text[0][:200] if text else 'no reason given'}"
            hint = (
                "Check the name, revision, split and network; or save the data set elsewhere with "
                "save_to_disk and name its folder in `saved`"
                if one.hub is not None
                else "Check that it is whole"
            )
            raise UserError(f"can't read the data set {self.where} ({reason}). {hint}.") from error

    @cached_property
    def _images(self) -> "Dataset":
        """The image column alone, as a mapping of ``bytes`` and ``path``, not decoded."""
        import datasets

        name = self.settings.image
        try:
            return self._table.select_columns([name]).cast_column(
                name, datasets.Image(decode=False)
            )
        except (TypeError, ValueError, NotImplementedError) as error:
            raise UserError(
                f"{self.where}: the column {name!r} holds {self._table.features[name]}, not images "
                f"(bytes, paths, or both). Name the one with the pictures in `image`."
            ) from error

    def tables(self) -> Iterator["pyarrow.Table"]:
        import pyarrow as pa

        table, key = self._table, self.settings.key
        columns = {
            name: feature
            for name, feature in table.features.items()
            if name != self.settings.image and _is_scalar(feature)
        }
        if key is not None and key not in columns:
            raise UserError(f"{self.where}: the column {key!r} holds no text or numbers")
        images = self._images.with_format("arrow")
        scalars = table.select_columns(list(columns)).with_format("arrow") if columns else None
        seen: set[str] = set()
        problems: list[str] = []
        for start in range(0, len(table), GROUP_ROWS):
            stop = min(start + GROUP_ROWS, len(table))
            sizes = self._sizes(images[start:stop].column(0), start, problems)
            values: dict[str, Any] = {}
            if scalars is not None:
                part = scalars[start:stop]
                values = {name: _named(part.column(name), f) for name, f in columns.items()}
            keys = pa.array([f"{row:08}" for row in range(start, stop)])
            if key is not None:
                keys = values[key].cast(pa.string())
                _require_keys(f"{self.where}: the column {key!r}", keys.to_pylist(), seen)
            yield pa.table(
                {"key": keys, "bytes": pa.array(sizes, pa.int64())}
                | {SOURCE + name: column for name, column in values.items()}
            )
        if problems:
            raise UserError(
                listed(
                    problems,
                    f"{self.where}: these pictures of the column "
                    f"{self.settings.image!r} aren't there:",
                    10,
                )
                + f"\nPaths are relative to {self._base}."
            )

    def _sizes(self, images: Any, start: int, problems: list[str]) -> list[int | None]:
        """Sizes of the pictures that are files; those inside the table are not read now."""
        import pyarrow.compute as pc

        sizes: list[int | None] = [None] * len(images)
        outside = pc.is_null(pc.struct_field(images, "bytes")).to_numpy(zero_copy_only=False)
        for i in outside.nonzero()[0].tolist():
            path = images[i]["path"].as_py()
            if path is None:
                continue  # no picture at all: bad, when it is read
            try:
                sizes[i] = (self._base / path).stat().st_size
            except OSError as error:
                problems.append(f"row {start + i}: {path}: {error.strerror}")
        return sizes

    def read(self, entry: Entry) -> bytes:
        image = self._images[entry.row][self.settings.image]
        if image is not None and image["bytes"] is not None:
            return image["bytes"]
        if image is None or image["path"] is None:
            raise OSError(errno.ENODATA, "there is no image in this row")
        return (self._base / image["path"]).read_bytes()


def _is_scalar(feature: Any) -> bool:
    import datasets

    if isinstance(feature, datasets.ClassLabel):
        return True
    return isinstance(feature, datasets.Value) and feature.dtype not in ("binary", "large_binary")


def _named(column: Any, feature: Any) -> Any:
    """A column in one piece; numbers of classes become their names, a negative one none."""
    import datasets
    import pyarrow as pa
    import pyarrow.compute as pc

    column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if isinstance(feature, datasets.ClassLabel) and feature.names is not None:
        known = pc.if_else(pc.less(column, 0), None, column)
        return pa.array(feature.names, pa.string()).take(known)
    return column


def _require_keys(where: str, keys: list[str | None], seen: set[str]) -> None:
    for key in keys:
        if not key or key in seen:
            what = f"{key!r} twice" if key else "an empty entry"
            raise UserError(f"{where} holds {what}: keys must tell pictures apart")
        seen.add(key)
