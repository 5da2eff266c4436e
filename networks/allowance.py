"""The interpreter's share: what memray may measure above the predicted peak of a training step.

A prediction counts every buffer. Array objects, frames, the tracker's log and what numpy and CPython keep for later
come on top, and are bounded here object by object. Steps in parts (`micro_batch`) are not covered.
"""

from networks.cache import event_bytes
from networks.chain import block_rows
from networks.dry_run import Trace

STEP_ALLOWANCE = 9728
"""Bytes of a step's frames, contexts, slices and views, whatever the network; and of the few blocks that numpy keeps
for the shapes of arrays, and CPython for freed lists and tuples."""
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
PARAMETER_DELTAS_ALLOWANCE = 2 * 96 + 32 + 16 + 57 + 56 + 9
"""Bytes for each layer's gradients: two array objects with their shapes and strides, a bytearray, a tuple, and the
tuple's place in a list that grows by an eighth more than it needs."""
BLOCK_ALLOWANCE = 3 * 120
"""Bytes for each block of rows, where the blocks are most: a slice and its two numbers, and what CPython keeps of the
dictionaries that numpy's two reductions of a block make."""
LOG_GROWTH = 17 / 16
"""The tracker's log of events grows by a sixteenth more than it needs."""
TEMPORARY_ALLOWANCE = 1200, 1200
"""Bytes, and items at most, of the buffers in which numpy broadcasts a row while a layer is run forward. The index
arrays for a block of labels, when backward begins, take no more."""


def allowance_bytes(trace: Trace) -> int:
    """Return what memray may measure above `trace.peak_bytes`: the interpreter's share, a bound and not an estimate.

    It is followed through the step: where gradients make the peak, the array objects of all of them are there; where
    checkpoints do, those of few.
    """
    overhead, items = TEMPORARY_ALLOWANCE
    most_temporary = items * trace.chain.itemsize
    held = HELD_ALLOWANCE + NUMBER_ALLOWANCE * (trace.chain.depth > SHARED_NUMBERS)
    word = LOG_GROWTH * event_bytes(trace.chain)
    afters = most = deltas = highest = 0
    for number, (event, live_bytes) in enumerate(zip(trace.timeline, trace.live_bytes_over_time, strict=True)):
        if event.action in ("parameter_deltas", "accumulate", "apply"):
            deltas += 1 if event.bytes > 0 else -1
        elif event.action != "workspace":
            afters += (event.bytes > 0) - (event.bytes < 0)
            most = max(most, afters)
        objects = AFTER_ALLOWANCE * afters + held * most + PARAMETER_DELTAS_ALLOWANCE * deltas + word * (number + 1)
        passing = 0
        if event.action == "forward":
            passing = ANSWER_ALLOWANCE * afters + overhead + min(most_temporary, trace.chain.after_bytes[event.layer])
        elif event.action == "workspace" and event.bytes > 0:
            passing = overhead + most_temporary
        highest = max(highest, live_bytes + objects + passing)
    chain = trace.chain
    rows = min(block_rows(chain.batch, width, chain.itemsize) for width in chain.layers[1:])
    return STEP_ALLOWANCE + BLOCK_ALLOWANCE * -(-chain.batch // rows) + int(highest) - trace.peak_bytes
