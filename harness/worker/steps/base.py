"""What a worker asks of a peer: a step, its gradients, and its bare matrix products."""

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
    """A matrix product `(rows, inner) @ (inner, columns)`, and which of its factors is read as a transpose."""

    rows: int
    inner: int
    columns: int
    left_transposed: bool = False
    right_transposed: bool = False


class Peer(ABC):
    """A training step of some framework: forward and backward from fixed weights, which stay as they are.

    A call runs it and returns what it made.
    """

    compiler_temporary_bytes: int | None = None
    """What the framework's compiler says it needs beside arguments and results, where there is a compiler that says."""

    @abstractmethod
    def __call__(self) -> Any: ...

    @abstractmethod
    def gradients(self) -> Gradients:
        """The gradients of a step: `(weights, biases)` of layers 1..L, weights `(layers[l-1], layers[l])`."""

    def counted(self) -> dict[str, int]:
        """What the framework itself counts of a step, by column: most count nothing."""
        return {}

    @abstractmethod
    def products(self) -> list[Product]:
        """Every matrix product that a step executes; what is recomputed is counted as often as it is run."""

    @abstractmethod
    def multiplication(self, product: Product) -> Callable[[], None]:
        """A function that runs the framework's own bare product on operands made here, into a result made here."""

    def warm_up(self) -> None:
        """Make whatever is made only once: BLAS buffers, free lists, the interpreter's specialised code."""
        for _ in range(WARM_UP_STEPS):
            self()

    def loops(self) -> int:
        """How many steps take as long as a sample should."""
        return max(1, math.ceil(SAMPLE_SECONDS / self.seconds()["step_seconds"]))

    def seconds(self, loops: int = 1) -> dict[str, float]:
        """Run the step `loops` times and return the mean seconds of its passes and of the whole, by column."""
        total: Counter[str] = Counter()
        for _ in range(loops):
            total.update(self._timed())
        means = {name: seconds / loops for name, seconds in total.items()}
        return {**means, "step_seconds": means.get("step_seconds", sum(means.values()))}

    def _timed(self) -> dict[str, float]:
        """Seconds of one step, in the parts that can be told apart."""
        lap = probes.stopwatch()
        made = self()
        seconds = lap()
        del made  # named until here, so that freeing it is not timed
        return {"step_seconds": seconds}


def operands(product: Product, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Ones in the shapes and orders of the product's factors."""
    rows, inner, columns, left_transposed, right_transposed = product
    left = np.ones((inner, rows), dtype).T if left_transposed else np.ones((rows, inner), dtype)
    right = np.ones((columns, inner), dtype).T if right_transposed else np.ones((inner, columns), dtype)
    return left, right


def multiplication(product: Product, dtype: str) -> Callable[[], None]:
    """A function that runs NumPy's bare product on operands made here, into a result made here."""
    left, right = operands(product, dtype)
    out = left @ right
    return lambda: np.matmul(left, right, out=out)


def gradient_error(gradients: Gradients, expected: Gradients) -> float:
    """The largest distance of an array from the one expected, over that one's norm.

    An array of zeros is 0 away from zeros, and infinitely far from all else. Not a number if an array holds one that is
    none.
    """
    pairs = zip(gradients, expected, strict=True)
    errors = [
        _relative_error(array, other) for pair, others in pairs for array, other in zip(pair, others, strict=True)
    ]
    return float(np.max(errors))


def _relative_error(array: np.ndarray, expected: np.ndarray) -> float:
    # In double precision: squares of single ones pass its range on both sides.
    array, expected = array.astype("float64"), expected.astype("float64")
    distance, norm = np.linalg.norm(array - expected), np.linalg.norm(expected)
    if norm == 0:
        return 0.0 if distance == 0 else math.inf
    return float(distance / norm)
