"""The chain a network trains on: the bytes and the work of every value of one training step.

This is the one byte model. The kernels allocate by it, a dry run adds it up, and schedules read it.
It is plain integers: no arrays, no numpy.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

from networks.rounding import ceil_div

BLOCK_ROWS = 256
"""Rows of a block at least: BLAS packs the weights anew for each product. With 64 rows a step of layers 1024 wide takes
1.2 times its whole products, with 256 rows 1.12, with 512 1.06."""

BLOCK_BYTES = 512 * 1024
"""A block has more rows while it is no larger, and no more than a quarter of the batch, so that scratch is small beside
the activations; up to twice `BLOCK_ROWS`, a third. Layers 128 wide take 1.15 times their products with 1024 rows, 1.17
with 512; a batch of 1437 rows 1.71 to 1.75 times with blocks of 480, 1.83 to 1.85 with 384, for 48 KiB."""

WIDE_BLOCK_BYTES = 4 * BLOCK_BYTES
"""A block of a wide layer, whose weights are too large for a core's cache, has half as many rows as the layer is wide
while it is no larger than this, and no more than half of the batch."""

TILE_ITEMS = 1024
"""Items of a tile, a row repeated: numpy adds one row to many in as many short loops. With tiles instead of rows of 128
items, adding the biases and taking the maximum with zero take two thirds of the time."""

FEW_CLASSES = 32
"""Outputs of at most this many classes are turned for their softmax, so that each class lies in a row: numpy begins a
loop for each row that it reduces. For 384 rows of 10 classes a softmax takes 14 us instead of 44."""

UPDATE_ITEMS = 8192
"""Items of the weights that an optimiser updates at a time, where rows are so few that their block is smaller."""

MAPPED_BYTES = 128 * 1024
"""A buffer of at least this many bytes may be a mapping of its own: it is what glibc's malloc, too, begins with."""

LARGEST = 2**63 - 1
"""The largest integer that arrays, tables and files hold. No step has more bytes live at once, or more operations."""

MOST_BYTES_OF_VALUES = LARGEST // 8
"""The activations and weight gradients of a step take no more bytes. Its peak is at most all of them, the outputs, a
gradient, what parts of a batch have added up and the workspace, which together are less than eight times as much."""


def block_rows(batch: int, width: int, itemsize: int) -> int:
    """Rows of `width` values that the kernels work on at a time; as many as the batch has at most."""
    row_bytes = width * itemsize
    third, quarter = (32 * ceil_div(batch, 32 * parts) for parts in (3, 4))
    wide = min(batch // 2, width // 2, WIDE_BLOCK_BYTES // row_bytes)
    part = max(quarter, min(third, 2 * BLOCK_ROWS))
    return min(batch, max(BLOCK_ROWS, wide, min(part, BLOCK_BYTES // row_bytes)))


def tile_rows(width: int) -> int:
    """Rows of `width` values that make a tile."""
    return max(1, TILE_ITEMS // width)


def softmax_columns(classes: int) -> int:
    """Columns of scratch that a softmax needs: one of maxima and sums, and the turned outputs if they are few."""
    return 1 + (classes if classes <= FEW_CLASSES else 0)


@dataclass(frozen=True)
class Chain:
    """Sizes of one training step of a dense network.

    `layers` are the widths `(w_0, .., w_L)`, `batch` the rows of the input, `itemsize` the bytes of a value.
    Layers count from 1. Position l of each tuple belongs to layer l. Position 0 is the input: it is the caller's, and
    no bytes are counted for it.

    `deltas_pile_up` says how long weight gradients stay. `backward` returns them, so they stay to
    the end of the step. `train_step` frees each layer's as soon as the layer is updated with it.

    `part_of` is set if the chain is a part of a batch (`micro_batch`): it is the rows of the whole batch. The outputs
    of the whole batch are then live beside the part. So are, from the second part to the last, the sums of all layers'
    weight gradients.
    """

    layers: tuple[int, ...]
    batch: int
    itemsize: int
    deltas_pile_up: bool = True
    part_of: int | None = None

    def __post_init__(self) -> None:
        too_large = f"a batch of {self.whole_batch} is too large for these layers: a step passes"
        if sum(self.after_bytes) + sum(self.parameter_delta_bytes) > MOST_BYTES_OF_VALUES:
            raise ValueError(f"{too_large} {MOST_BYTES_OF_VALUES} bytes")
        # Whatever the schedule, a layer is run at most once for itself and once for each layer above it.
        if self.depth * self.flops > LARGEST:
            raise ValueError(f"{too_large} {LARGEST} floating-point operations where each layer is run for each above")

    @property
    def depth(self) -> int:
        """L, the number of layers (weight matrices)."""
        return len(self.layers) - 1

    @property
    def whole_batch(self) -> int:
        """Rows of the batch that this is, or is a part of."""
        return self.batch if self.part_of is None else self.part_of

    @cached_property
    def after_bytes(self) -> tuple[int, ...]:
        """Bytes of after[l], the output of layer l; after[L] is what `forward` returns."""
        return (0, *(self.batch * width * self.itemsize for width in self.layers[1:]))

    @property
    def delta_bytes(self) -> tuple[int, ...]:
        """Bytes of delta[l], the gradient at layer l's output before its activation: those of after[l]."""
        return self.after_bytes

    @cached_property
    def parameter_delta_bytes(self) -> tuple[int, ...]:
        """Bytes of the gradients of layer l's weights and biases."""
        return (0, *((inputs + 1) * outputs * self.itemsize for inputs, outputs in pairwise(self.layers)))

    @cached_property
    def forward_flops(self) -> tuple[int, ...]:
        """Floating-point operations of layer l's forward product, two for each multiply-add."""
        return (0, *(2 * self.batch * inputs * outputs for inputs, outputs in pairwise(self.layers)))

    @property
    def flops(self) -> int:
        """Floating-point operations of the whole batch's forward pass."""
        return sum(self.forward_flops) // self.batch * self.whole_batch

    @cached_property
    def workspace_items(self) -> tuple[int, int, int, int]:
        """Items of the workspace of a pass: a tile of zeros, a tile of biases, a column of ones, and one block.

        The block holds a block of rows of any hidden layer, or a softmax's columns, or a part of the weights that an
        optimiser updates: a 64th of them, or `UPDATE_ITEMS`.
        """
        *hidden, classes = self.layers[1:]
        tile = max(width * min(self.batch, tile_rows(width)) for width in self.layers[1:])
        softmax = block_rows(self.batch, classes, self.itemsize) * softmax_columns(classes)
        update = min(UPDATE_ITEMS, max(inputs * outputs for inputs, outputs in pairwise(self.layers)) // 64)
        block = max(softmax, update, *(block_rows(self.batch, width, self.itemsize) * width for width in hidden))
        return tile, tile, self.batch, block

    @property
    def workspace_bytes(self) -> int:
        """Bytes of the workspace, allocated once in the forward pass and once in the backward pass."""
        return sum(self.workspace_items) * self.itemsize

    @property
    def outputs_bytes(self) -> int:
        """Bytes of the outputs that the caller gets."""
        return self.whole_batch * self.layers[-1] * self.itemsize

    @property
    def _added_up_bytes(self) -> int:
        return 0 if self.part_of is None else sum(self.parameter_delta_bytes)

    @cached_property
    def recompute_bytes(self) -> tuple[int, ...]:
        """Bytes live beside all activations while activations for layer l's backward step are computed.

        For the last layer this is the forward pass: its workspace, and what a part of a batch holds from the start.
        For the other layers it is the workspace, the outputs, delta[l], and the weight gradients of other layers or
        parts.
        """
        above = [self.workspace_bytes + self._added_up_bytes]
        for layer in range(self.depth, 1, -1):
            above.append(above[-1] + (self.parameter_delta_bytes[layer] if self.deltas_pile_up else 0))
        outputs = self.outputs_bytes
        waiting = (outputs + self.delta_bytes[layer] + above[self.depth - layer] for layer in range(1, self.depth))
        return (0, *waiting, above[0] + (0 if self.part_of is None else outputs))

    @cached_property
    def serve_bytes(self) -> tuple[int, ...]:
        """Bytes live beside all activations when layer l's weight gradients have just been made: its step's most."""
        above = self.workspace_bytes + self._added_up_bytes + self.outputs_bytes
        served = [0] * (self.depth + 1)
        for layer in range(self.depth, 0, -1):
            made = above + self.parameter_delta_bytes[layer]
            served[layer] = made + self.delta_bytes[layer]
            above = made if self.deltas_pile_up else above
        return tuple(served)

    @cached_property
    def maps_buffers(self) -> bool:
        """Whether large buffers are mappings of their own and not pieces of the heap.

        Weight gradients that stay to the end of the step take the places of freed activations. If most are smaller
        than an activation, but larger than a sixteenth of it, the rest of each place stays unused: for 32 layers 512
        wide, batch 1024, a heap keeps 61 MiB resident although the step requests 40. Mappings cost time, because
        their pages are made anew. For layers 256 or 512 wide that is 0 to 8 % of the step under glibc's malloc as it
        comes, and 5 to 9 % if its thresholds are fixed.
        """
        if not self.deltas_pile_up and self.part_of is None:
            return False
        largest, deltas = max(self.after_bytes), self.parameter_delta_bytes
        return 2 * sum(nbytes for nbytes in deltas if max(MAPPED_BYTES, largest / 16) <= nbytes < largest) > sum(deltas)

    @cached_property
    def slides(self) -> tuple[bool, ...]:
        """Whether after[l] may be written over after[l-1] where that one is not kept: hidden layers of one width."""
        alike = (below == width for below, width in pairwise(self.layers))
        return (False, *(same and 1 < layer < self.depth for layer, same in enumerate(alike, start=1)))


chain_of = lru_cache(maxsize=8)(Chain)
"""`Chain(..)`, and of equal ones the same, whose bytes are added up already: a step, or a part of one, allocates none.

Training meets no more than eight: the batch, the last one, the parts of either, and the data of a test.
"""
