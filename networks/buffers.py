"""Where every buffer of a training step is allocated: one function for each kind of memory.

A memory profiler can tell the kinds apart by these functions' names. Each is called once for each
buffer, and nothing else in this package allocates anything that grows with the batch or the width
during a step.
"""

import math
import mmap
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from networks.chain import MAPPED_BYTES

UFUNC_BUFFER_ITEMS = 1024
"""Items of the buffer that numpy fills with a row it broadcasts. With numpy's own 8192 every bias added allocates up to
64 KiB for a moment; with this many it takes the same time (16 to 1024 columns, measured)."""

CACHED_BYTES = 1024
"""Of blocks smaller than this numpy keeps up to seven freed ones of each size, beyond the end of a step. What is as
small as that is made in a bytearray instead, whose memory goes when it goes."""


def activation_buffer(rows: int, columns: int, dtype: np.dtype, *, mapped: bool) -> np.ndarray:
    """An uninitialised `(rows, columns)` array for an activation, which may later hold the gradient of its layer."""
    return _array((rows, columns), dtype, mapped=mapped)


def parameter_delta_buffers(
    inputs: int, outputs: int, dtype: np.dtype, *, mapped: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Uninitialised gradients of a layer's weights `(inputs, outputs)` and biases `(outputs,)`."""
    weights_bytes, biases_bytes = inputs * outputs * dtype.itemsize, outputs * dtype.itemsize
    if weights_bytes >= CACHED_BYTES:
        return _array((inputs, outputs), dtype, mapped=mapped), _array((outputs,), dtype, mapped=mapped)
    both = bytearray(weights_bytes + biases_bytes)
    return np.ndarray((inputs, outputs), dtype, both), np.ndarray(outputs, dtype, both, weights_bytes)


def workspace_buffer(items: int, dtype: np.dtype) -> np.ndarray:
    """An uninitialised flat array of `items` values for the scratch of one pass."""
    return _array((items,), dtype)


def _array(shape: tuple[int, ...], dtype: np.dtype, *, mapped: bool = False) -> np.ndarray:
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < CACHED_BYTES:
        return np.ndarray(shape, dtype, bytearray(nbytes))
    if mapped and nbytes >= MAPPED_BYTES and sys.platform == "linux":  # elsewhere the heap may be another
        return np.ndarray(shape, dtype, _mapping(nbytes))
    return np.empty(shape, dtype)


def _mapping(nbytes: int) -> mmap.mmap:
    """Memory of its own pages, which the system has back as soon as it is freed: `Chain.maps_buffers` says when.

    They are made at once: one by one, as they are first written to, they would take twice the time.
    """
    try:
        return mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
    except OSError as error:
        raise MemoryError(f"Unable to allocate {nbytes / 2**20:.2f} MiB as a mapping: {error.strerror}") from None


@contextmanager
def small_ufunc_buffers() -> Iterator[None]:
    """Let numpy's element-wise functions buffer no more than `UFUNC_BUFFER_ITEMS` within this context."""
    with np.errstate():  # restores the buffer size, too
        np.setbufsize(UFUNC_BUFFER_ITEMS)
        yield
