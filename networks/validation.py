"""Checks of what a caller passes in; each failure is a ValueError of one line that names the value."""

import numpy as np

DTYPES = ("float32", "float64")


def check_dtype(dtype: object) -> np.dtype:
    """Return the numpy dtype of `float32` or `float64`."""
    try:
        checked = np.dtype(dtype)
    except TypeError:
        checked = None
    if checked is None or dtype is None or checked.name not in DTYPES or not checked.isnative:
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}")
    return checked


def check_inputs(x: object, width: int, dtype: np.dtype) -> np.ndarray:
    """Return `x` as a C-ordered `(batch, width)` array of `dtype`; a copy only where it is another."""
    values = _as_array(x, "x")
    if values.dtype.kind not in "fiub":
        raise ValueError(f"x must hold real numbers, got dtype {values.dtype}")
    if values.ndim != 2 or values.shape[1] != width:
        raise ValueError(f"x must have shape (batch, {width}), got {values.shape}")
    if len(values) == 0:
        raise ValueError(f"x must have at least one row, got shape {values.shape}")
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is reported below
        converted = np.ascontiguousarray(values, dtype)
        squares = np.vdot(converted, converted)
    if not np.isfinite(squares):  # NaN or infinity, or nothing but large values, which the extremes tell
        for extreme in (converted.min(), converted.max()):
            if not np.isfinite(extreme):
                raise ValueError(f"x must be finite as {dtype}, got {extreme}")
    return converted


def check_labels(y: object, batch: int, classes: int) -> np.ndarray:
    """Return integer labels `(batch,)` from labels or from one-hot rows `(batch, classes)`."""
    values = _as_array(y, "y")
    if values.ndim == 2:
        return _labels_from_one_hot(values, batch, classes)
    if values.ndim != 1:
        raise ValueError(f"y must be labels ({batch},) or one-hot ({batch}, {classes}), got shape {values.shape}")
    if len(values) != batch:
        raise ValueError(f"y must have {batch} labels, one for each row of x, got {len(values)}")
    if values.dtype.kind not in "iu":
        raise ValueError(f"y must hold integer labels, got dtype {values.dtype}, first {values[:1].tolist()[0]!r}")
    for extreme in (values.min(), values.max()):
        if not 0 <= extreme < classes:
            raise ValueError(f"y must hold labels from 0 to {classes - 1}, got {extreme}")
    return values


def _labels_from_one_hot(values: np.ndarray, batch: int, classes: int) -> np.ndarray:
    if values.shape != (batch, classes):
        raise ValueError(f"one-hot y must have shape ({batch}, {classes}), got {values.shape}")
    if values.dtype.kind not in "fiub":
        raise ValueError(f"one-hot y must hold numbers, got dtype {values.dtype}")
    ones = values == 1
    wrong = np.flatnonzero((ones.sum(axis=1) != 1) | ((values != 0) & ~ones).any(axis=1))
    if len(wrong):
        row = wrong[0]
        found = values[row][values[row] != 0][:5].tolist()
        raise ValueError(f"one-hot y must have a 1 and zeros in every row, got {found} and zeros in row {row}")
    return ones.argmax(axis=1)


def _as_array(values: object, name: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array: {error}") from None
