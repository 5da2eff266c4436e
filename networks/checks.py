"""What a caller may pass in: counts, layers, data types, inputs and labels."""

import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np

from networks.chain import LARGEST
from networks.wording import shown

DTYPES = ("float32", "float64")


def check_dtype(dtype: Any) -> np.dtype:
    """Return the numpy dtype of `float32` or `float64`."""
    try:
        checked: np.dtype | None = np.dtype(dtype)
    except TypeError:
        checked = None
    if checked is None or dtype is None or checked.name not in DTYPES or not checked.isnative:
        raise ValueError(f"dtype must be float32 or float64, got {dtype!r}")
    return checked


def check_inputs(x: object, width: int, dtype: np.dtype) -> np.ndarray:
    """Return `x` as a C-ordered `(batch, width)` array of `dtype`; a copy only where it is another."""
    values = _as_array(x, "x")
    if values.dtype.kind not in "fiub":
        raise ValueError(f"x must hold real numbers, got {_kind(x, values)}{_conversion(x, 'x', str(dtype))}")
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
        return _labels_from_one_hot(y, values, batch, classes)
    if values.ndim != 1:
        raise ValueError(f"y must be labels ({batch},) or one-hot ({batch}, {classes}), got shape {values.shape}")
    if len(values) != batch:
        raise ValueError(f"y must have {batch} labels, one for each row of x, got {len(values)}")
    if values.dtype.kind not in "iu":
        found = f"{_kind(y, values)}, first {values[:1].tolist()[0]!r}"
        raise ValueError(f"y must hold integer labels, got {found}{_numbering(y, values)}{_one_output(classes)}")
    for extreme in (values.min(), values.max()):
        if not 0 <= extreme < classes:
            raise ValueError(f"y must hold labels from 0 to {classes - 1}, got {extreme}{_one_output(classes)}")
    return values


def _labels_from_one_hot(y: object, values: np.ndarray, batch: int, classes: int) -> np.ndarray:
    if values.shape != (batch, classes):
        call = "y.ravel()" if type(y) is np.ndarray else "np.ravel(y)"
        flat = f"; labels are flat: call {call}" if values.shape in ((batch, 1), (1, batch)) else ""
        raise ValueError(f"one-hot y must have shape ({batch}, {classes}), got {values.shape}{flat}")
    if values.dtype.kind not in "fiub":
        raise ValueError(f"one-hot y must hold numbers, got {_kind(y, values)}{_conversion(y, 'y', 'int64')}")
    ones = values == 1
    wrong = np.flatnonzero((ones.sum(axis=1) != 1) | ((values != 0) & ~ones).any(axis=1))
    if len(wrong):
        row = wrong[0]
        found = f"{values[row][values[row] != 0][:5].tolist()} and zeros in row {row}"
        raise ValueError(f"one-hot y must have a 1 and zeros in every row, got {found}{_one_output(classes)}")
    labels: np.ndarray = ones.argmax(axis=1)
    return labels


def _as_array(values: object, name: str) -> np.ndarray:
    if type(values) is np.ndarray:
        return values
    rows = values if isinstance(values, (list, tuple)) else [values]
    if any(isinstance(row, np.ma.MaskedArray) for row in rows):
        raise ValueError(
            f"{name} is a masked array, whose masked values would be taken for numbers: "
            f"call {name}.filled(..) with a value for them, or leave those rows out"
        )
    if _comes_from("scipy.sparse", values):
        raise ValueError(f"{name} is sparse, got {type(values).__name__}: call {name}.toarray()")
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array: {error}") from None
    except (TypeError, RuntimeError) as error:  # a tensor on another device, say, or one that records its gradients
        raise ValueError(f"{name} must be an array, got {type(values).__name__}: {error}") from None


# What other libraries' columns are called, and what to call on them. None of these libraries is imported.

_PANDAS_COLUMNS = ("DataFrame", "Series", "Index", "ExtensionArray")


def _comes_from(library: str, values: object, names: tuple[str, ...] = ()) -> bool:
    """Whether a class of `library`, by one of these names if there are any, is the type of `values` or above it."""
    return any(
        f"{kind.__module__}.".startswith(f"{library}.") and (not names or kind.__name__ in names)
        for kind in type(values).__mro__
    )


def _kind(given: Any, values: np.ndarray) -> str:
    """What `given` holds in its own library's words, because numpy calls all that it does not know an object."""
    if not _comes_from("pandas", given, _PANDAS_COLUMNS):
        return f"dtype {values.dtype}"
    dtypes = given.dtypes if values.ndim == 2 else [given.dtype]
    return f"pandas {', '.join(sorted(set(map(str, dtypes))))}"


def _conversion(given: Any, name: str, dtype: str) -> str:
    """The call that makes `given` an array of numbers; empty where there is none."""
    if _comes_from("pandas", given, _PANDAS_COLUMNS):
        missing = " after fillna(..) or dropna()" if np.any(given.isna()) else ""
        return f": call {name}.to_numpy(dtype={dtype!r}){missing}"
    return f": call {name}.astype({dtype!r})" if type(given) is np.ndarray and given.dtype == object else ""


def _numbering(y: Any, values: np.ndarray) -> str:
    """The call that makes labels of `y`; empty where none would be right."""
    is_of_pandas = _comes_from("pandas", y, _PANDAS_COLUMNS)
    if is_of_pandas and np.any(y.isna()):
        return ": leave out the rows whose label is missing"
    held = set(map(type, values)) if values.dtype == object else {values.dtype.type}
    if held <= {str, np.str_}:
        return ": call np.unique(y, return_inverse=True)[1], which numbers the classes"
    whole = values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.trunc(values)).all()
    if whole or held <= {int, bool, np.bool_}:
        return f": call {'y' if is_of_pandas or type(y) is np.ndarray else 'np.array(y)'}.astype(int)"
    return ""


def _one_output(classes: int) -> str:
    if classes > 1:
        return ""
    return "; outputs are classes, and one output is class 0 alone: for two classes the network needs 2 outputs"


MOST_LAYERS = 1_000_000
"""Most layers that a text may name, so that a slip of the finger does not fill the memory."""


def check_count(name: str, value: object, *, least: int = 1) -> int:
    """Return `value`, an integer of at least `least`."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {shown(value)}")
    if int(value) > LARGEST:
        raise ValueError(f"{name} must be an integer of at most {LARGEST}, got {shown(value)}")
    return int(value)


def check_layers(layers: Iterable[int]) -> tuple[int, ...]:
    """Return `layers` as a tuple of at least two positive ints; ValueError names what is wrong."""
    if isinstance(layers, str):
        raise ValueError(f"layers must be a list of widths such as [64, 128, 10], got the text {shown(layers)}")
    try:
        widths = list(layers)
    except TypeError:
        raise ValueError(f"layers must be a list of widths such as [64, 128, 10], got {shown(layers)}") from None
    if len(widths) < 2:
        raise ValueError(f"layers needs at least two widths, the inputs and the outputs, got {widths!r}")
    return tuple(check_count(f"layers[{position}]", width) for position, width in enumerate(widths))
