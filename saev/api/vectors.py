"""The recorded activations of a run, as an array that is read when you index it."""

from typing import Any

import numpy as np

from saev.activations.artifact import Activations, Stream


class RecordedVectors:
    """The recorded activations of one stream: an entry for each image, in the order of the rows.

    Index it with a position, a slice, or an array of positions or bools, to get float32. Only what
    you ask for is read. Skipped images have no entry: ``rows`` says which images are here.

    Attributes:
        stream: the stream.
        rows: (r,) int64, the row of each image, ascending.
        shape: (r, d), for patches (r, patches, d).
        dtype: float32.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, reader: Activations, stream: Stream) -> None:
        self.stream, self._reader = stream, reader
        self.rows = reader.rows(0, reader.n_images)
        each = (stream.n_patches, stream.d) if stream.kind == "patches" else (stream.d,)
        self.shape: tuple[int, ...] = (len(self.rows), *each)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<{self.stream.name} of {self._reader.path}: {self.shape} float32>"

    def __getitem__(self, key: Any) -> np.ndarray:
        """Activations at the positions ``key``: float32, (d,) or (patches, d) each.

        Raises:
            IndexError: a position is out of range.
        """
        rows = self.rows[key]
        if isinstance(key, slice) and key.step in (None, 1) and len(rows):
            # Neighbours in the file are read at once, without gathering.
            values = self._reader.read(self.stream, int(rows[0]), int(rows[-1]) + 1)[1]
            return self._reader.float32(values).reshape(len(rows), *self.shape[1:])
        return self.take(np.ravel(rows)).reshape(*np.shape(rows), *self.shape[1:])

    def take(self, rows: Any) -> np.ndarray:
        """Activations of the images ``rows`` (m,), in any order: (m, d) or (m, patches, d) float32.

        Raises:
            UserError: a row has no activations.
        """
        rows = np.asarray(rows, np.int64)
        values = self._reader.float32(self._reader.take(self.stream, rows))
        return values.reshape(len(rows), *self.shape[1:])
