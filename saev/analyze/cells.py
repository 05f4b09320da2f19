"""Divides the patches of an image into cells, in which an analysis counts where latents fire.

There are at most 16 × 16 cells, so memory is bounded for every tower.
"""

from typing import NamedTuple

import numpy as np

MOST_CELLS = 16
"""Largest number of cells in a line of the grid, and of lines."""


class Cells(NamedTuple):
    """How the patches of a grid are divided into cells."""

    cell_of: np.ndarray
    """(patches,) int64: the cell of each patch."""
    shape: tuple[int, int]
    """Lines and columns of cells."""
    border: np.ndarray
    """(patches,) bool: whether the patch lies at the border of the grid."""

    @property
    def n(self) -> int:
        """The number of cells."""
        return self.shape[0] * self.shape[1]


NO_CELLS = Cells(np.zeros(0, np.int64), (0, 0), np.zeros(0, bool))
"""Of a stream without patches."""


def cells(grid: tuple[int, int]) -> Cells:
    """Divide a grid of ``(lines, columns)`` patches into cells."""
    side = -(-max(grid) // MOST_CELLS)
    line, column = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    shape = (-(-grid[0] // side), -(-grid[1] // side))
    ends = (line == 0) | (line == grid[0] - 1) | (column == 0) | (column == grid[1] - 1)
    return Cells((line // side) * shape[1] + column // side, shape, ends)
