"""The whole bill of a training: what it holds all the time, beside the peak of its steps."""

from dataclasses import dataclass
from itertools import pairwise

from networks.chain import BLOCK_BYTES, LARGEST, Chain
from networks.checks import check_count
from networks.wording import one_of

OPTIMIZERS = {"sgd": 0, "momentum": 1, "adam": 2}
"""For each optimiser, the arrays of state that it holds for every array of parameters."""

SAVES_LITTLE = 0.05
"""The share of the peak of training without checkpoints under which a saving is called none."""

LABEL_BYTES = INDEX_BYTES = 8


@dataclass(frozen=True)
class Bill:
    """Bytes of a training.

    Attributes:
        optimizer: its name in `OPTIMIZERS`.
        parameters_bytes, optimizer_state_bytes, data_bytes: there all the time.
        update_bytes: live while the optimiser updates parameters: all gradients, the outputs, a block of scratch. The
            step is over by then, so this counts where it is more than the step's peak. 0 where it is part of the step.
    """

    optimizer: str
    parameters_bytes: int
    optimizer_state_bytes: int
    data_bytes: int
    update_bytes: int

    @property
    def held_bytes(self) -> int:
        """All that is there all the time."""
        return self.parameters_bytes + self.optimizer_state_bytes + self.data_bytes


def check_optimizer(optimizer: str) -> None:
    """Raise ValueError unless it is one of `OPTIMIZERS`."""
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be {one_of(optimizer, OPTIMIZERS)}")


def bill(chain: Chain, *, samples: int | None, optimizer: str) -> Bill:
    """Add up what training `chain` holds, with `samples` rows of data and their labels; None is one batch.

    More than a batch are visited in mini-batches: the order of a pass and a copy of one batch count as data, too.
    """
    check_optimizer(optimizer)
    samples = chain.batch if samples is None else check_count("samples", samples)
    if samples < chain.batch:
        raise ValueError(f"samples must be at least the batch of {chain.batch} rows, got {samples}")
    parameters_bytes = sum(chain.parameter_delta_bytes)
    largest_bytes = max(inputs * outputs for inputs, outputs in pairwise(chain.layers)) * chain.itemsize
    row_bytes = chain.layers[0] * chain.itemsize + LABEL_BYTES
    visiting_bytes = chain.batch * row_bytes + samples * INDEX_BYTES if samples > chain.batch else 0
    updating_bytes = parameters_bytes + chain.after_bytes[-1] + min(largest_bytes, BLOCK_BYTES)
    held = Bill(
        optimizer=optimizer,
        parameters_bytes=parameters_bytes,
        optimizer_state_bytes=OPTIMIZERS[optimizer] * parameters_bytes,
        data_bytes=samples * row_bytes + visiting_bytes,
        update_bytes=updating_bytes if chain.deltas_pile_up else 0,
    )
    if held.held_bytes > LARGEST:
        raise ValueError(f"samples must leave a whole bill of at most {LARGEST} bytes, got {samples}")
    return held
