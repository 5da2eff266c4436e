"""The account of one training step after every event, written out by hand.

What must happen follows from the chain rule and from the rules that chain.py, layers.py and checkpointing.py state:

- Each pass allocates the workspace first and frees it last: a tile of zeros and one of biases, each the rows of a layer
  that make up 1024 values or the batch; a column of ones; one block of rows, which holds those of any hidden layer, or
  those of at most 32 classes with a column beside them, or of more classes that column alone; and a 64th of a layer's
  weights, up to 8192.
- A layer's after is a new buffer. Between hidden layers of equal width it is written over the one before it, and
  takes 0 bytes, unless that one is cached.
- Backward asks for after[L-1], .., after[0]. What is not cached is recomputed from the nearest cached after below.
- A layer's parameter deltas are allocated; then after[l-1] becomes delta[l-1] in place, and delta[l] is freed.
- The outputs and the loss delta are allocated in the forward pass; the outputs count to the end of the backward pass.
"""

from typing import NamedTuple

import numpy as np

from networks import CacheTracker, Network, NetworkWithCheckpointing, Trace, dry_run
from tests.support.strategies import random_data

FLOAT32 = 4


class Account(NamedTuple):
    """The tracker's numbers right after an event."""

    phase: str
    action: str
    layer: int
    hits: int
    misses: int
    cached_layers: tuple[int, ...]
    live_bytes: int


def accounts(network: Network | NetworkWithCheckpointing, *, batch: int) -> list[Account]:
    """Run one training step and write down the tracker's numbers after each of its events."""
    written = []

    def write() -> None:
        tracker: CacheTracker = network.tracker
        phase, action, layer, _ = tracker.timeline[-1]
        written.append(
            Account(phase, action, layer, tracker.hits, tracker.misses, tracker.cached_layers, tracker.live_bytes)
        )

    network.observer = write
    x, y = random_data(network.layers, batch)
    network.forward(x)
    network.backward(y)
    return written


# A small network, [64, 128, 64, 10], with a batch of 32

BATCH = 32
A1, A2, A3 = BATCH * 128 * FLOAT32, BATCH * 64 * FLOAT32, BATCH * 10 * FLOAT32  # an after, or the delta in its place
P1, P2, P3 = (64 + 1) * 128 * FLOAT32, (128 + 1) * 64 * FLOAT32, (64 + 1) * 10 * FLOAT32  # weights' and biases' deltas
W = (1024 + 1024 + BATCH + BATCH * 128) * FLOAT32  # zeros and biases, ones for the batch, and all of after[1]


def test_every_event_of_a_small_network_that_stores_all():
    assert accounts(Network([64, 128, 64, 10]), batch=BATCH) == [
        # phase      action      layer  hits misses cached  live bytes
        ("forward",  "workspace",        0, 0, 0, (),     W),
        ("forward",  "forward",          1, 0, 0, (),     W + A1),
        ("forward",  "keep",             1, 0, 0, (1,),   W + A1),
        ("forward",  "forward",          2, 0, 0, (1,),   W + A1 + A2),
        ("forward",  "keep",             2, 0, 0, (1, 2), W + A1 + A2),
        ("forward",  "forward",          3, 0, 0, (1, 2), W + A1 + A2 + A3),
        ("forward",  "delta",            3, 0, 0, (1, 2), W + A1 + A2 + A3 + A3),
        ("forward",  "workspace",        0, 0, 0, (1, 2), A1 + A2 + A3 + A3),
        ("backward", "workspace",        0, 0, 0, (1, 2), A1 + A2 + A3 + A3 + W),
        ("backward", "hit",              2, 1, 0, (1, 2), A1 + A2 + A3 + A3 + W),
        ("backward", "parameter_deltas", 3, 1, 0, (1, 2), A1 + A2 + A3 + A3 + W + P3),
        ("backward", "overwrite",        2, 1, 0, (1,),   A1 + A2 + A3 + A3 + W + P3),
        ("backward", "release_delta",    3, 1, 0, (1,),   A1 + A2 + A3 + W + P3),
        ("backward", "hit",              1, 2, 0, (1,),   A1 + A2 + A3 + W + P3),
        ("backward", "parameter_deltas", 2, 2, 0, (1,),   A1 + A2 + A3 + W + P3 + P2),
        ("backward", "overwrite",        1, 2, 0, (),     A1 + A2 + A3 + W + P3 + P2),
        ("backward", "release_delta",    2, 2, 0, (),     A1 + A3 + W + P3 + P2),
        ("backward", "hit",              0, 3, 0, (),     A1 + A3 + W + P3 + P2),
        ("backward", "parameter_deltas", 1, 3, 0, (),     A1 + A3 + W + P3 + P2 + P1),
        ("backward", "release_delta",    1, 3, 0, (),     A3 + W + P3 + P2 + P1),
        ("backward", "release",          3, 3, 0, (),     W + P3 + P2 + P1),
        ("backward", "workspace",        0, 3, 0, (),     P3 + P2 + P1),
    ]  # fmt: skip


def test_every_event_of_a_small_network_with_every_second_after_saved():
    network = NetworkWithCheckpointing([64, 128, 64, 10], checkpoint_frequency=2)
    assert accounts(network, batch=BATCH) == [
        # phase      action      layer  hits misses cached  live bytes
        ("forward",  "workspace",        0, 0, 0, (),     W),
        ("forward",  "forward",          1, 0, 0, (),     W + A1),
        ("forward",  "forward",          2, 0, 0, (),     W + A1 + A2),
        ("forward",  "release",          1, 0, 0, (),     W + A2),
        ("forward",  "keep",             2, 0, 0, (2,),   W + A2),
        ("forward",  "forward",          3, 0, 0, (2,),   W + A2 + A3),
        ("forward",  "delta",            3, 0, 0, (2,),   W + A2 + A3 + A3),
        ("forward",  "workspace",        0, 0, 0, (2,),   A2 + A3 + A3),
        ("backward", "workspace",        0, 0, 0, (2,),   A2 + A3 + A3 + W),
        ("backward", "hit",              2, 1, 0, (2,),   A2 + A3 + A3 + W),
        ("backward", "parameter_deltas", 3, 1, 0, (2,),   A2 + A3 + A3 + W + P3),
        ("backward", "overwrite",        2, 1, 0, (),     A2 + A3 + A3 + W + P3),
        ("backward", "release_delta",    3, 1, 0, (),     A2 + A3 + W + P3),
        ("backward", "miss",             1, 1, 1, (),     A2 + A3 + W + P3),
        ("backward", "forward",          1, 1, 1, (),     A2 + A3 + W + P3 + A1),
        ("backward", "keep",             1, 1, 1, (1,),   A2 + A3 + W + P3 + A1),
        ("backward", "parameter_deltas", 2, 1, 1, (1,),   A2 + A3 + W + P3 + A1 + P2),
        ("backward", "overwrite",        1, 1, 1, (),     A2 + A3 + W + P3 + A1 + P2),
        ("backward", "release_delta",    2, 1, 1, (),     A3 + W + P3 + A1 + P2),
        ("backward", "hit",              0, 2, 1, (),     A3 + W + P3 + A1 + P2),
        ("backward", "parameter_deltas", 1, 2, 1, (),     A3 + W + P3 + A1 + P2 + P1),
        ("backward", "release_delta",    1, 2, 1, (),     A3 + W + P3 + P2 + P1),
        ("backward", "release",          3, 2, 1, (),     W + P3 + P2 + P1),
        ("backward", "workspace",        0, 2, 1, (),     P3 + P2 + P1),
    ]  # fmt: skip


# 25 layers of 16 units, with a batch of 128: every after takes A bytes and every layer's parameter deltas P

WIDTH, ROWS, DEPTH = 16, 128, 25
A = ROWS * WIDTH * FLOAT32
P = (WIDTH + 1) * WIDTH * FLOAT32
V = (1024 + 1024 + ROWS + ROWS * (WIDTH + 1)) * FLOAT32  # the workspace; the block holds all 128 rows of the outputs


def test_every_event_of_25_equal_layers_with_every_fourth_after_saved():
    network = NetworkWithCheckpointing([WIDTH] * (DEPTH + 1), checkpoint_frequency=4)
    expected = [*forward_pass_saving_every_fourth(), *last_layer_backward()]
    for segment in reversed(range(6)):
        expected += segment_backward(segment)
    expected += end_of_backward(hits=19, misses=6)
    assert accounts(network, batch=ROWS) == expected


def test_every_event_of_25_equal_layers_where_nothing_is_saved_again():
    network = NetworkWithCheckpointing([WIDTH] * (DEPTH + 1), checkpoint_frequency=4, recompute="each")
    expected = [*forward_pass_saving_every_fourth(), *last_layer_backward()]
    for segment in reversed(range(6)):
        expected += segment_backward_each_recomputed(segment)
    expected += end_of_backward(hits=7, misses=18)
    assert accounts(network, batch=ROWS) == expected


def saved_up_to(segment: int) -> tuple[int, ...]:
    """The checkpoints that lie at or below the start of a segment: after[4], .., after[4 * segment]."""
    return (4, 8, 12, 16, 20, 24)[:segment]


def forward_pass_saving_every_fourth() -> list[tuple]:
    """Six segments of four layers, of which only the first takes a new buffer, and then the outputs."""
    rows = [("forward", "workspace", 0, 0, 0, (), V)]
    for segment in range(6):
        start = 4 * segment
        saved, live = saved_up_to(segment), V + segment * A + A  # checkpoints, and the after that slides
        rows += [
            ("forward", "forward", start + 1, 0, 0, saved, live),
            ("forward", "forward", start + 2, 0, 0, saved, live),
            ("forward", "forward", start + 3, 0, 0, saved, live),
            ("forward", "forward", start + 4, 0, 0, saved, live),
            ("forward", "keep", start + 4, 0, 0, (*saved, start + 4), live),
        ]
    return [
        *rows,
        ("forward", "forward", 25, 0, 0, saved_up_to(6), V + 6 * A + A),
        ("forward", "delta", 25, 0, 0, saved_up_to(6), V + 6 * A + 2 * A),
        ("forward", "workspace", 0, 0, 0, saved_up_to(6), 6 * A + 2 * A),
    ]


def last_layer_backward() -> list[tuple]:
    """after[24] is a checkpoint, so layer 25 recomputes nothing."""
    return [
        ("backward", "workspace", 0, 0, 0, saved_up_to(6), 8 * A + V),
        ("backward", "hit", 24, 1, 0, saved_up_to(6), 8 * A + V),
        ("backward", "parameter_deltas", 25, 1, 0, saved_up_to(6), 8 * A + V + P),
        ("backward", "overwrite", 24, 1, 0, saved_up_to(5), 8 * A + V + P),
        ("backward", "release_delta", 25, 1, 0, saved_up_to(5), 7 * A + V + P),
    ]


def before_segment_backward(segment: int) -> int:
    """Live bytes: the checkpoints below, the outputs and a delta, and the parameter deltas of all layers above."""
    return V + (segment + 2) * A + (DEPTH - 4 * segment - 4) * P


def segment_backward(segment: int) -> list[tuple]:
    """Three afters are recomputed together and kept, then each serves once; the fourth hit is the checkpoint below."""
    start = 4 * segment
    first, second, third, fourth = start + 1, start + 2, start + 3, start + 4
    saved, live = saved_up_to(segment), before_segment_backward(segment)
    hits, misses = 1 + 3 * (5 - segment), 1 + (5 - segment)
    rows = [
        ("backward", "miss", third, hits, misses, saved, live),
        ("backward", "forward", first, hits, misses, saved, live + A),
        ("backward", "keep", first, hits, misses, (*saved, first), live + A),
        ("backward", "forward", second, hits, misses, (*saved, first), live + 2 * A),
        ("backward", "keep", second, hits, misses, (*saved, first, second), live + 2 * A),
        ("backward", "forward", third, hits, misses, (*saved, first, second), live + 3 * A),
        ("backward", "keep", third, hits, misses, (*saved, first, second, third), live + 3 * A),
        ("backward", "parameter_deltas", fourth, hits, misses, (*saved, first, second, third), live + 3 * A + P),
        ("backward", "overwrite", third, hits, misses, (*saved, first, second), live + 3 * A + P),
        ("backward", "release_delta", fourth, hits, misses, (*saved, first, second), live + 2 * A + P),
        ("backward", "hit", second, hits + 1, misses, (*saved, first, second), live + 2 * A + P),
        ("backward", "parameter_deltas", third, hits + 1, misses, (*saved, first, second), live + 2 * A + 2 * P),
        ("backward", "overwrite", second, hits + 1, misses, (*saved, first), live + 2 * A + 2 * P),
        ("backward", "release_delta", third, hits + 1, misses, (*saved, first), live + A + 2 * P),
        ("backward", "hit", first, hits + 2, misses, (*saved, first), live + A + 2 * P),
        ("backward", "parameter_deltas", second, hits + 2, misses, (*saved, first), live + A + 3 * P),
        ("backward", "overwrite", first, hits + 2, misses, saved, live + A + 3 * P),
        ("backward", "release_delta", second, hits + 2, misses, saved, live + 3 * P),
    ]
    return rows + first_layer_of_segment_backward(segment, hits + 3, misses, live + 3 * P)


def segment_backward_each_recomputed(segment: int) -> list[tuple]:
    """Each of three afters is recomputed from the checkpoint below, sliding through one buffer, and kept by nobody."""
    start = 4 * segment
    first, second, third, fourth = start + 1, start + 2, start + 3, start + 4
    saved, live = saved_up_to(segment), before_segment_backward(segment)
    hits, misses = 1 + (5 - segment), 1 + 3 * (5 - segment)
    rows = [
        ("backward", "miss", third, hits, misses, saved, live),
        ("backward", "forward", first, hits, misses, saved, live + A),
        ("backward", "forward", second, hits, misses, saved, live + A),
        ("backward", "forward", third, hits, misses, saved, live + A),
        ("backward", "parameter_deltas", fourth, hits, misses, saved, live + A + P),
        ("backward", "overwrite", third, hits, misses, saved, live + A + P),
        ("backward", "release_delta", fourth, hits, misses, saved, live + P),
        ("backward", "miss", second, hits, misses + 1, saved, live + P),
        ("backward", "forward", first, hits, misses + 1, saved, live + A + P),
        ("backward", "forward", second, hits, misses + 1, saved, live + A + P),
        ("backward", "parameter_deltas", third, hits, misses + 1, saved, live + A + 2 * P),
        ("backward", "overwrite", second, hits, misses + 1, saved, live + A + 2 * P),
        ("backward", "release_delta", third, hits, misses + 1, saved, live + 2 * P),
        ("backward", "miss", first, hits, misses + 2, saved, live + 2 * P),
        ("backward", "forward", first, hits, misses + 2, saved, live + A + 2 * P),
        ("backward", "parameter_deltas", second, hits, misses + 2, saved, live + A + 3 * P),
        ("backward", "overwrite", first, hits, misses + 2, saved, live + A + 3 * P),
        ("backward", "release_delta", second, hits, misses + 2, saved, live + 3 * P),
    ]
    return rows + first_layer_of_segment_backward(segment, hits + 1, misses + 2, live + 3 * P)


def first_layer_of_segment_backward(segment: int, hits: int, misses: int, live: int) -> list[tuple]:
    """The layer above a checkpoint: a hit, and the after becomes a delta. Below layer 1 is the input, which stays."""
    start = 4 * segment
    saved, below = saved_up_to(segment), saved_up_to(segment)[:-1]
    rows = [
        ("backward", "hit", start, hits, misses, saved, live),
        ("backward", "parameter_deltas", start + 1, hits, misses, saved, live + P),
    ]
    if segment > 0:
        rows.append(("backward", "overwrite", start, hits, misses, below, live + P))
    return [*rows, ("backward", "release_delta", start + 1, hits, misses, below, live - A + P)]


def end_of_backward(*, hits: int, misses: int) -> list[tuple]:
    return [
        ("backward", "release", 25, hits, misses, (), V + 25 * P),
        ("backward", "workspace", 0, hits, misses, (), 25 * P),
    ]


# Peaks of these layers


def equal_layers(**options) -> Trace:
    return dry_run([WIDTH] * (DEPTH + 1), batch=ROWS, **options)


def test_the_peak_is_split_by_kind():
    """Of 25 layers, at the parameter deltas of layer 25 for store-all, of layer 24 with segments, of 22 with each."""
    assert equal_layers().peak_bytes_by_kind == {
        "checkpoints": 24 * A,
        "working_afters": A,  # the outputs
        "deltas": A,
        "parameter_deltas": P,
        "workspace": V,
    }
    assert equal_layers(checkpoint_frequency=4).peak_bytes_by_kind == {
        "checkpoints": 5 * A + 3 * A,  # after[4] .. after[20], and the segment after[21] .. after[23]
        "working_afters": A,
        "deltas": A,
        "parameter_deltas": 2 * P,
        "workspace": V,
    }
    assert equal_layers(checkpoint_frequency=4, recompute="each").peak_bytes_by_kind == {
        "checkpoints": 5 * A,
        "working_afters": A + A,  # the outputs, and after[21]
        "deltas": A,
        "parameter_deltas": 4 * P,
        "workspace": V,
    }


def test_most_layers_cached_at_once():
    assert equal_layers().peak_cached_layers == 24
    assert equal_layers(checkpoint_frequency=4).peak_cached_layers == 5 + 3
    assert equal_layers(checkpoint_frequency=4, recompute="each").peak_cached_layers == 6


# Questions between the passes


def test_a_question_between_the_passes_is_accounted_for_and_changes_no_balance():
    network = NetworkWithCheckpointing([64, 128, 64, 10], checkpoint_frequency=2)
    x, _ = random_data(network.layers, BATCH)
    network.forward(x)
    asked = len(network.tracker.timeline)
    live = network.tracker.live_bytes

    assert np.shares_memory(network.get_cached_after_or_calculate(0), x)
    network.get_cached_after_or_calculate(1)
    network.get_cached_after_or_calculate(2)
    network.forward_up_to_layer(2)  # cached: nothing to run
    network.forward_up_to_layer(3)

    assert network.tracker.timeline[asked:] == [
        ("query", "hit",       0, 0),
        ("query", "miss",      1, 0),
        ("query", "workspace", 0, W),
        ("query", "forward",   1, A1),
        ("query", "release",   1, -A1),
        ("query", "workspace", 0, -W),
        ("query", "hit",       2, 0),
        ("query", "workspace", 0, W),
        ("query", "forward",   3, A3),
        ("query", "release",   3, -A3),
        ("query", "workspace", 0, -W),
    ]  # fmt: skip
    assert network.tracker.live_bytes == live
    assert network.tracker.cached_layers == (2,)
