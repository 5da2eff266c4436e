"""Random networks, batches and schedules to try a claim on."""

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from networks import Network, NetworkWithCheckpointing
from networks.chain import BLOCK_ROWS, Chain
from networks.schedules import Keep, Schedule

MOST_ROWS = BLOCK_ROWS


@dataclass(frozen=True)
class Configuration:
    """One training step: a network, its twin with checkpoints, and the batch both are given."""

    layers: tuple[int, ...]
    batch: int
    checkpoint_frequency: int
    recompute: str
    activation: str
    dtype: str
    seed: int

    def store_all(self) -> Network:
        return Network(self.layers, **self._options())

    def checkpointed(self) -> NetworkWithCheckpointing:
        return NetworkWithCheckpointing(
            self.layers, checkpoint_frequency=self.checkpoint_frequency, recompute=self.recompute, **self._options()
        )

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        return random_data(self.layers, self.batch, self.dtype)

    def _options(self) -> dict[str, str | int]:
        return {"activation": self.activation, "dtype": self.dtype, "seed": self.seed}


def random_data(layers: Collection[int], batch: int, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """Inputs `(batch, layers[0])` and labels `(batch,)` for a network of these layers, the same in every call."""
    inputs, *_, classes = layers
    generator = np.random.default_rng(batch)
    return generator.standard_normal((batch, inputs)).astype(dtype), generator.integers(classes, size=batch)


@st.composite
def layer_lists(draw: st.DrawFn) -> tuple[int, ...]:
    """Widths of 1 to 16 layers; runs of equal ones among them, where afters may slide in place."""
    runs = draw(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), max_size=3))
    hidden = [width for width, times in runs for _ in range(times)]
    return (draw(st.integers(1, 9)), *hidden, draw(st.integers(1, 9)))


def configurations() -> st.SearchStrategy[Configuration]:
    """Batches of one row, of a few, and of two and three blocks of rows."""
    return st.builds(
        Configuration,
        layers=layer_lists(),
        batch=st.sampled_from([1, 2, 7, 64, MOST_ROWS + 1, 2 * MOST_ROWS + 76]),
        checkpoint_frequency=st.integers(1, 17),
        recompute=st.sampled_from(["segment", "each"]),
        activation=st.sampled_from(["relu", "sigmoid", "tanh"]),
        dtype=st.sampled_from(["float32", "float64"]),
        seed=st.integers(0, 2**32),
    )


def whimsical(seed: int) -> Schedule:
    """A schedule of a user with strange ideas: any legal answer, but always the same to the same question."""

    def schedule(chain: Chain) -> Keep:
        def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
            choice = random.Random(f"{seed}: {sorted(cached.items())}, {start}, {stop}")
            positions = [*sorted(cached.keys() - {0}), *range(start + 1, stop + 1)]
            return [0, *choice.sample(positions, choice.randint(0, len(positions)))]

        return keep

    return schedule
