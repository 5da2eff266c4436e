"""Where every buffer of a training step is allocated: one function for each kind of memory.

A memory profiler can tell the kinds apart by these functions' names. Each is called once for each
buffer, and nothing else in this package allocates anything that grows with the batch or the width
during a step.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

UFUNC_BUFFER_ITEMS = 1024
"""Items of the buffer that numpy fills with a row it broadcasts. With numpy's own 8192 every bias added allocates up to
64 KiB for a moment; with this many it takes the same time (16 to 1024 columns, measured)."""


def activation_buffer(rows: int, columns: int, dtype: np.dtype) -> np.ndarray:
    """An uninitialised `(rows, columns)` array for an after, which may later hold the delta of its layer."""
    return np.empty((rows, columns), dtype)


def parameter_delta_buffers(inputs: int, outputs: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Uninitialised gradients of a layer's weights `(inputs, outputs)` and biases `(outputs,)`."""
    return np.empty((inputs, outputs), dtype), np.empty(outputs, dtype)


def workspace_buffer(items: int, dtype: np.dtype) -> np.ndarray:
    """An uninitialised flat array of `items` values for the scratch of one pass."""
    return np.empty(items, dtype)


@contextmanager
def small_ufunc_buffers() -> Iterator[None]:
    """Let numpy's element-wise functions buffer no more than `UFUNC_BUFFER_ITEMS` within this context."""
    with np.errstate():  # restores the buffer size, too
        np.setbufsize(UFUNC_BUFFER_ITEMS)
        yield
