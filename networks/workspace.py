"""The scratch of one pass: tiles, a column of ones, and one block of rows."""

from itertools import accumulate

import numpy as np

from networks.buffers import workspace_buffer
from networks.chain import Chain, tile_rows


class Workspace:
    """The scratch of one pass: a tile of zeros, a tile of biases, a column of ones and one block of rows.

    A tile is one row repeated, as often as `tile_rows` says.
    """

    def __init__(self, chain: Chain, dtype: np.dtype):
        sizes = chain.workspace_items
        items = workspace_buffer(sum(sizes), dtype)
        self._zeros, self._biases, self.ones, self.scratch = (
            items[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)
        )
        self._zeros[:] = 0
        self.ones[:] = 1

    def block(self, rows: int, columns: int) -> np.ndarray:
        """The block of scratch as `(rows, columns)`, contents arbitrary."""
        return self.scratch[: rows * columns].reshape(rows, columns)

    def hold_biases(self, biases: np.ndarray) -> None:
        """Fill the tile that `add_biases` adds."""
        rows = len(self._biases) // len(biases)
        self._biases[: rows * len(biases)].reshape(rows, -1)[:] = biases

    def add_biases(self, values: np.ndarray) -> None:
        """Add the biases to each row of `values`, in place."""
        for tiles in _tiles(values):
            np.add(tiles, self._biases[: tiles.shape[1]], out=tiles)

    def maximum_with_zero(self, values: np.ndarray, out: np.ndarray) -> None:
        """Write max(value, 0) to `out`: NaN as NaN, and -0 as 0, because of two equal ones the second is taken."""
        for tiles, out_tiles in zip(_tiles(values), _tiles(out), strict=True):
            np.maximum(tiles, self._zeros[: tiles.shape[1]], out=out_tiles)


def _tiles(values: np.ndarray) -> list[np.ndarray]:
    """View `values` with as many of its rows as one as fit a tile, and then the rest of them as one."""
    rows, columns = values.shape
    tile = tile_rows(columns)
    rest = rows % tile
    whole = (rows - rest) * columns
    items = values.reshape(-1)
    parts = items[:whole].reshape(-1, tile * columns), items[whole:].reshape(1, -1)
    return [part for part in parts if part.size]
