"""Where every buffer of a training step is allocated: one function for each kind of memory.

A memory profiler can tell the kinds apart by these functions' names. Each is called once for each
buffer, and nothing else in this package allocates anything that grows with the batch or the width
during a step.
"""

import numpy as np


def activation_buffer(rows: int, columns: int, dtype: np.dtype) -> np.ndarray:
    """An uninitialised `(rows, columns)` array for an after, which may later hold the delta of its layer."""
    return np.empty((rows, columns), dtype)


def parameter_delta_buffers(inputs: int, outputs: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Uninitialised gradients of a layer's weights `(inputs, outputs)` and biases `(outputs,)`."""
    return np.empty((inputs, outputs), dtype), np.empty(outputs, dtype)


def workspace_buffer(items: int, dtype: np.dtype) -> np.ndarray:
    """An uninitialised flat array of `items` values for the scratch of one pass."""
    return np.empty(items, dtype)
