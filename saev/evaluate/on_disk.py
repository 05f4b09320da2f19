"""An array that grows on disk, so that only what is read of it is in memory."""

from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from saev.analyze.mapped import release


class OnDisk:
    """Values one after the other, in a file that vanishes with this object.

    Args:
        folder: where the file lies; kind: type of the values.
    """

    def __init__(self, folder: Path, kind: type[np.number]) -> None:
        self.kind, self.n = np.dtype(kind), 0
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115  # it lives as long as this object
        self._mapped: np.ndarray | None = None

    def add(self, values: np.ndarray) -> None:
        """Append ``values``, of any shape."""
        self._file.write(np.ascontiguousarray(values, self.kind).data)
        self.n += values.size
        self._mapped = None

    def array(self) -> np.ndarray:
        """All values (n,), mapped from the file."""
        if self._mapped is None:
            self._file.flush()
            empty = np.empty(0, self.kind)  # an empty file can't be mapped
            self._mapped = (
                np.memmap(self._file, self.kind, "r+", shape=(self.n,)) if self.n else empty
            )
        return self._mapped

    def release(self) -> None:
        """Give back the memory of what was read."""
        release(self.array())
