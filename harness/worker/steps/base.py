"""The protocol of a peer: a step, its gradients, and its bare matrix products."""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.worker import probes

WARM_UP_STEPS = 2
SAMPLE_SECONDS = 0.01  # 100,000 ticks of the clock; shorter steps are timed several at once

Gradients = Sequence[tuple[np.ndarray, np.ndarray]]


class Product(NamedTuple):
    """A matrix product `(rows, inner) @ (inner, columns)`, and which factors are read as transposes."""

    rows: int
    inner: int
    columns: int
    left_transposed: bool = False
    right_transposed: bool = False


class Peer(ABC):
    """A training step of some framework: forward and backward from fixed weights. It changes no weights.

    A call runs the step, and returns what it made.
    """

    compiler_temporary_bytes: int | None = None
    """Memory beside arguments and results, as the framework's compiler reports it. None if no compiler does."""

    @abstractmethod
    def __call__(self) -> Any: ...

    @abstractmethod
    def gradients(self) -> Gradients:
        """The gradients of a step: `(weights, biases)` of layers 1..L, weights `(layers[l-1], layers[l])`."""

    def counted(self) -> dict[str, int]:
        """Counts of a step by the framework itself, by column. Most frameworks count nothing."""
        return {}

    @abstractmethod
    def products(self) -> list[Product]:
        """Every matrix product that a step executes. A recomputed product counts each time that it runs."""

    @abstractmethod
    def multiplication(self, product: Product) -> Callable[[], object]:
        """A function that runs the framework's own bare product. Its operands and its result are made here, once."""

    def warm_up(self) -> None:
        """Run steps, so that everything exists that is made only once: BLAS buffers, free lists, specialised code."""
        for _ in range(WARM_UP_STEPS):
            self()

    def loops(self) -> int:
        """The number of steps in a sample, so that the sample takes long enough."""
        return max(1, math.ceil(SAMPLE_SECONDS / self.seconds()["step_seconds"]))

    def seconds(self, loops: int = 1) -> dict[str, float]:
        """Run the step `loops` times, and return the mean seconds of its passes and of the whole step, by column."""
        total: Counter[str] = Counter()
        for _ in range(loops):
            total.update(self._timed())
        means = {name: seconds / loops for name, seconds in total.items()}
        return {**means, "step_seconds": means.get("step_seconds", sum(means.values()))}

    def _timed(self) -> dict[str, float]:
        """Seconds of one step, by column, in its separate parts if it has them."""
        lap = probes.stopwatch()
        made = self()
        seconds = lap()
        del made  # alive until here, so its freeing is not timed
        return {"step_seconds": seconds}


def operands(product: Product, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Ones in the shapes and orders of the product's factors."""
    rows, inner, columns, left_transposed, right_transposed = product
    left = np.ones((inner, rows), dtype).T if left_transposed else np.ones((rows, inner), dtype)
    right = np.ones((columns, inner), dtype).T if right_transposed else np.ones((inner, columns), dtype)
    return left, right


def multiplication(product: Product, dtype: str) -> Callable[[], object]:
    """A function that runs NumPy's bare product. Its operands and its result are made here, once."""
    left, right = operands(product, dtype)
    out = left @ right
    return lambda: np.matmul(left, right, out=out)


def gradient_error(gradients: Gradients, expected: Gradients) -> float:
    """The largest distance of an array from the one expected, over that one's norm.

    The distance of zeros from zeros is 0. Any other array is infinitely far from zeros. The error is nan if an array
    has a nan.
    """
    pairs = zip(gradients, expected, strict=True)
    errors = [
        _relative_error(array, other) for pair, others in pairs for array, other in zip(pair, others, strict=True)
    ]
    return float(np.max(errors))


def _relative_error(array: np.ndarray, expected: np.ndarray) -> float:
    # In double precision, because squares of single precision overflow and underflow.
    array, expected = array.astype("float64"), expected.astype("float64")
    distance, norm = np.linalg.norm(array - expected), np.linalg.norm(expected)
    if norm == 0:
        return 0.0 if distance == 0 else math.inf
    return float(distance / norm)
