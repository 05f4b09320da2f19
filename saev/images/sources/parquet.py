"""Parquet files with a column of images. `parquet_files` reads them."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saev.core.files import canonical_json, sha256_bytes
from saev.images.sources.find import find_files
from saev.images.sources.source import GROUP_ROWS, IGNORED, SPLITS, SourceFiles, stated
from saev.images.sources.table import TableInFiles
from saev.settings.images import ParquetSettings

if TYPE_CHECKING:
    from saev.images.sources.parquet_files import ParquetFiles


SPLIT = re.compile(r"([a-z]+)-\d+-of-\d+")
"""Begins the name of a file that the Hugging Face hub has split: `train-00000-of-00002`."""


class Parquet(TableInFiles[ParquetSettings]):
    """Parquet files."""

    _ahead: Iterator[tuple[int, str]]
    """Images outside of the files that weren't asked for yet."""

    @property
    def where(self) -> str:
        return self.settings.parquet

    def _files(self) -> tuple[Path, list[str]]:
        return find_files("parquet", self.where, ".parquet")[:2]

    def notes(self) -> dict[str, Any]:
        _, names, ignored = find_files("parquet", self.where, ".parquet")
        splits = Counter(found[1] for name in names if (found := SPLIT.match(Path(name).name)))
        more: dict[str, Any] = {SPLITS: dict(splits)} if len(splits) > 1 else {}
        return more | ({IGNORED: ignored} if ignored else {})

    holder = "file"

    def files(self) -> SourceFiles:
        """The parquet files. Of one that names images, time and inode stand for these too."""
        found, images = stated(*self._files()), self._opened.images
        for i, name in enumerate(found.name):
            total = hashlib.sha256()
            newest = 0
            for path in images.paths(name):
                try:
                    about = self._place(path).stat()
                except (OSError, ValueError):
                    continue  # `tables` names it
                newest = max(newest, about.st_mtime_ns)
                state = f"{path}\0{about.st_size}\0{about.st_mtime_ns}\0{about.st_ino}\n"
                total.update(state.encode())
            if newest:
                found.mtime_ns[i] = max(newest, found.mtime_ns[i])
                found.inode[i] = int.from_bytes(total.digest()[:7], "big")
        return found

    @property
    def _wanted(self) -> list[str]:
        return [self.settings.image]  # keys are read from the files themselves

    @cached_property
    def _opened(self) -> "ParquetFiles":
        from saev.images.sources.parquet_files import ParquetFiles

        return ParquetFiles.opened(*self._files(), self.settings.image, self.settings.key)

    def _load(self) -> Any:
        import datasets

        from saev.images.sources.parquet_files import image_features

        found, column = self._opened, self.settings.image
        named = zip(found.names, found.n_rows, strict=True)
        files = [name for name, n in named if n] or found.names[:1]
        # `datasets` finds its copy by path and time alone, and a file can be replaced by another of
        # the same time, as archives and packages unpack them. What `description` says counts too.
        about = sha256_bytes(canonical_json(stated(found.base, files)._asdict()).encode())
        return datasets.Dataset.from_parquet(
            [str(found.base / name) for name in files],
            columns=[column],
            features=image_features(found),
            description=about,
        )

    def _values(self) -> Iterator[tuple[str | None, dict[str, Any], int]]:
        self._require_key(self._opened.columns())
        yield from self._opened.batches(GROUP_ROWS)

    def _outside(self, start: int, stop: int) -> Iterator[tuple[int, str]]:
        if not self._opened.images.can_look():
            yield from super()._outside(start, stop)
            return
        # `datasets` would first write all images into its cache.
        if start == 0:
            self._ahead = self._opened.images.outside()
        for row, path in self._ahead:
            if row >= stop:
                self._ahead = chain([(row, path)], self._ahead)
                return
            yield row, path
