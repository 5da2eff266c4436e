"""The interpreter's share: what memray may measure above the predicted peak of a training step.

A prediction counts every buffer. Array objects, frames, the tracker's log and what numpy and CPython keep for later
come on top, and are bounded here object by object.
"""

from networks.chain import Chain, block_rows
from networks.dry_run import Trace
from networks.tracker import Event, event_bytes, events

STEP_ALLOWANCE = 9728
"""Bytes of a step's frames, contexts, slices and views, whatever the network; and of the few blocks that numpy keeps
for the shapes of arrays, and CPython for freed lists and tuples."""
PARTS_ALLOWANCE = 232 + 3 * 528 + 4 * 248 + 600
"""Bytes of a step by parts beside those: the queue of what the parts add up and three of its blocks that are not full,
views of inputs, labels and outputs with their slices, and a function with the cells of what it shares."""
AFTER_ALLOWANCE = 96 + 32 + 57
"""Bytes for each after or delta that is live: an array object, its shape and strides, a bytearray if it is small."""
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
"""Bytes of a place in a list, which grows by an eighth more than it needs, or in a queue, which keeps its blocks."""
BLOCK_ALLOWANCE = 56 + 2 * 32 + PLACE_ALLOWANCE
"""Bytes for each block of rows, where the blocks are most: a slice and its two numbers, in a list."""
LOG_ALLOWANCE, LOG_GROWTH = 80 + 56 + 28, 17 / 16
"""A log of the tracker is an array object in a tuple, and grows by a sixteenth and seven words more than it needs."""
TEMPORARY_ALLOWANCE = 1200, 1200
"""Bytes, and items at most, of the buffers in which numpy broadcasts a row while a layer is run forward. The index
arrays for a block of labels, when backward begins, take no more."""


def allowance_bytes(trace: Trace) -> int:
    """Return what memray may measure above `trace.peak_bytes`: the interpreter's share, a bound and not an estimate.

    It is followed through the step: where gradients make the peak, the array objects of all of them are there; where
    checkpoints do, those of few. Of networks of up to 128 layers it is under 64 KiB or half a per cent of the peak, but
    where a step of layers a few values wide is thousands of events: at most 86 KB were found, 45 of them the objects of
    the gradients that `backward` returns (`[2] * 129`, batch 4096, float64, the smallest budget).
    """
    held = HELD_ALLOWANCE + NUMBER_ALLOWANCE * (trace.chain.depth > SHARED_NUMBERS)
    word = LOG_GROWTH * event_bytes(trace.chain)
    mapping = MAPPING_ALLOWANCE * any(chain.maps_buffers for chain, _ in trace.recorded)
    live_bytes = afters = most_afters = deltas = most_deltas = logs = highest = 0
    before = None
    for log in trace.recorded:
        timeline = events((log,))
        for number, event in enumerate(timeline, start=1):
            live_bytes += event.bytes
            if event.action in ("parameter_deltas", "accumulate", "apply"):
                deltas += 1 if event.bytes > 0 else -1
                most_deltas = max(most_deltas, deltas)
            elif event.action != "workspace":
                afters += (event.bytes > 0) - (event.bytes < 0)
                most_afters = max(most_afters, afters)
            objects = (AFTER_ALLOWANCE + mapping) * afters + held * most_afters + logs + word * number
            objects += (PARAMETER_DELTAS_ALLOWANCE + mapping) * deltas + PLACE_ALLOWANCE * most_deltas
            highest = max(highest, live_bytes + objects + _passing_bytes(event, log[0], afters))
        # The tracker keeps one log for all parts that are alike.
        logs += PLACE_ALLOWANCE + (0 if log == before else LOG_ALLOWANCE + word * len(timeline))
        before = log
    return STEP_ALLOWANCE + _parts_bytes([chain for chain, _ in trace.recorded]) + int(highest) - trace.peak_bytes


def _passing_bytes(event: Event, chain: Chain, afters: int) -> int:
    """What is there only while a layer is run forward, or while a pass begins."""
    overhead, items = TEMPORARY_ALLOWANCE
    if event.action == "forward":
        return ANSWER_ALLOWANCE * afters + overhead + min(items * chain.itemsize, chain.after_bytes[event.layer])
    if event.action == "workspace" and event.bytes > 0:
        return overhead + items * chain.itemsize
    return 0


def _parts_bytes(chains: list[Chain]) -> int:
    """The slices of a layer's blocks, and what a step by parts has beside; the first of its chains is not run."""
    blocks = max(
        -(-chain.batch // block_rows(chain.batch, width, chain.itemsize))
        for chain in chains[1:] or chains
        for width in chain.layers[1:]
    )
    return BLOCK_ALLOWANCE * blocks + (PARTS_ALLOWANCE if len(chains) > 1 else 0)
