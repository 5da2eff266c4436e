"""The interpreter's share: what memray may measure above the predicted peak of a training step.

A prediction counts every buffer. Array objects, frames, the tracker's log and what numpy and CPython keep for later
come on top, and are bounded here object by object.
"""

import numpy as np

from networks.chain import Chain, block_rows
from networks.rounding import ceil_div
from networks.schedules.replay import Cost
from networks.trace import Trace
from networks.tracker import ARE_GRADIENTS, FORWARD, WORKSPACE, event_arrays, event_bytes

STEP_ALLOWANCE = 9728
"""Bytes of a step's frames, contexts, slices and views, whatever the network; and of the few blocks that numpy keeps
for the shapes of arrays, and CPython for freed lists and tuples."""
PARTS_ALLOWANCE = 4 * 248
"""Bytes of a step by parts beside those: views of inputs, labels and outputs with their slices."""
AFTER_ALLOWANCE = 96 + 32 + 57
"""Bytes for each live activation or gradient: an array object, its shape and strides, a bytearray if it is small."""
HELD_ALLOWANCE, NUMBER_ALLOWANCE = 54, 28
"""Bytes for each of the most of them that were live at once: entries of the cache, whose table has three slots of 18
bytes for each when it has grown, and never shrinks; and the layer's number, an object of its own beyond
`SHARED_NUMBERS`."""
SHARED_NUMBERS = 256
"""CPython has one object for each integer up to this."""
ANSWER_ALLOWANCE = 107
"""Bytes for each of those that are live while layers are run: the set of what the schedule keeps, whose table has up to
six slots and two thirds of 16 bytes for each."""
PARAMETER_DELTAS_ALLOWANCE = 2 * 96 + 32 + 16 + 57 + 56
"""Bytes for each layer's gradients: two array objects with their shapes and strides, a bytearray, and a tuple."""
MAPPING_ALLOWANCE = 96
"""Bytes for the object of a mapping, where large buffers are mappings."""
PLACE_ALLOWANCE = 9
"""Bytes of a place in a list, which grows by an eighth more than it needs."""
BLOCK_ALLOWANCE = 56 + 2 * 32 + PLACE_ALLOWANCE
"""Bytes for each block of rows, where the blocks are most: a slice and its two numbers, in a list."""
LOG_ALLOWANCE, LOG_GROWTH = 80 + 56 + 28, 17 / 16
"""A log of the tracker is an array object in a tuple, and grows by a sixteenth and seven words more than it needs."""
TEMPORARY_ALLOWANCE = 1200, 1200
"""Bytes, and items at most, of the buffers in which numpy broadcasts a row while a layer is run forward. The index
arrays for a block of labels, when backward begins, take no more."""


def allowance_bytes(trace: Trace) -> int:
    """Return what memray may measure above `trace.peak_bytes`: the interpreter's share, a bound and not an estimate.

    It is followed through the step. If gradients make the peak, the array objects of all of them are there. If
    checkpoints make it, few gradients exist. Up to 128 layers it is under 64 KiB or half a per cent of the peak. The
    exception is a step of thousands of events on layers a few values wide: at most 86 KB were found, 45 of them the
    objects of the gradients that `backward` returns (`[2] * 129`, batch 4096, float64, the smallest budget).
    """
    held = HELD_ALLOWANCE + NUMBER_ALLOWANCE * (trace.chain.depth > SHARED_NUMBERS)
    word = LOG_GROWTH * event_bytes(trace.chain)
    mapping = MAPPING_ALLOWANCE * any(chain.maps_buffers for chain, _ in trace.recorded)
    logs: float
    highest = logs = 0
    last = np.zeros(5)
    before = None
    for log in trace.recorded:
        counts, passing = _followed(log, last)
        live_bytes, afters, most_afters, deltas, most_deltas = counts
        # A step may have a hundred thousand events, and a planner asks for hundreds of steps.
        number = np.arange(1, len(afters) + 1)
        objects = (AFTER_ALLOWANCE + mapping) * afters + held * most_afters + logs + word * number
        objects += (PARAMETER_DELTAS_ALLOWANCE + mapping) * deltas + PLACE_ALLOWANCE * most_deltas
        highest = max(highest, int((live_bytes + objects + passing).max()))
        # The tracker keeps one log for all parts that are alike.
        logs += PLACE_ALLOWANCE + (0 if log == before else LOG_ALLOWANCE + word * len(afters))
        last, before = counts[:, -1], log
    return STEP_ALLOWANCE + _parts_bytes([chain for chain, _ in trace.recorded]) + highest - trace.peak_bytes


def least_allowance_bytes(chain: Chain, cost: Cost) -> int:
    """Return less than the allowance of a step of `chain`, or as much, known without a trace: its log, mostly."""
    log_bytes = int(LOG_GROWTH * event_bytes(chain) * cost.events_at_peak)
    return STEP_ALLOWANCE + _parts_bytes([chain]) + log_bytes


def _followed(log: tuple[Chain, bytes], last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is there after each event of a log, and what is there in passing; `last` is the first before the log.

    The first has five rows: live bytes, activations or gradients and the most of them so far, layers' weight gradients
    and the most.
    """
    chain, _ = log
    layers, actions, signs, change = event_arrays(*log)
    gradients = ARE_GRADIENTS[actions]
    afters = last[1] + np.cumsum(np.where(gradients | (actions == WORKSPACE), 0, signs))
    deltas = last[3] + np.cumsum(np.where(gradients, signs, 0))
    most_afters, most_deltas = (
        np.maximum(most, np.maximum.accumulate(counts)) for most, counts in ((last[2], afters), (last[4], deltas))
    )
    overhead, items = TEMPORARY_ALLOWANCE
    filled = items * chain.itemsize
    # What is there only while a layer is run forward, or while a pass begins.
    running = ANSWER_ALLOWANCE * afters + overhead + np.minimum(filled, np.array(chain.after_bytes))[layers]
    begins = (actions == WORKSPACE) & (signs > 0)
    passing = np.where(actions == FORWARD, running, np.where(begins, overhead + filled, 0))
    return np.array([last[0] + np.cumsum(change), afters, most_afters, deltas, most_deltas]), passing


def _parts_bytes(chains: list[Chain]) -> int:
    """The slices of a layer's blocks, and what a step by parts has beside; the first of its chains is not run."""
    blocks = max(
        ceil_div(chain.batch, block_rows(chain.batch, width, chain.itemsize))
        for chain in chains[1:] or chains
        for width in {*chain.layers[1:]}
    )
    return BLOCK_ALLOWANCE * blocks + (PARTS_ALLOWANCE if len(chains) > 1 else 0)
