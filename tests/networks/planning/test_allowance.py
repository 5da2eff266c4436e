"""The interpreter's share, followed event by event as its rules are written, and as it is followed by arrays."""

from hypothesis import given
from hypothesis import strategies as st

from networks import Trace, dry_run
from networks.chain import block_rows
from networks.planning import allowance as rules
from networks.planning.allowance import allowance_bytes, least_allowance_bytes
from networks.schedules import store_all
from networks.schedules.replay import replay
from networks.tracker import event_bytes, events
from tests.support.strategies import layer_lists, whimsical


def followed(trace: Trace) -> int:
    """The allowance by a loop over the step's events."""
    held = rules.HELD_ALLOWANCE + rules.NUMBER_ALLOWANCE * (trace.chain.depth > rules.SHARED_NUMBERS)
    word = rules.LOG_GROWTH * event_bytes(trace.chain)
    mapping = rules.MAPPING_ALLOWANCE * any(chain.maps_buffers for chain, _ in trace.recorded)
    overhead, items = rules.TEMPORARY_ALLOWANCE
    live = afters = most_afters = deltas = most_deltas = logs = highest = 0
    before = None
    for log in trace.recorded:
        chain, timeline = log[0], events((log,))
        for number, event in enumerate(timeline, start=1):
            live += event.bytes
            if event.action in ("parameter_deltas", "accumulate", "apply"):
                deltas += 1 if event.bytes > 0 else -1
                most_deltas = max(most_deltas, deltas)
            elif event.action != "workspace":
                afters += (event.bytes > 0) - (event.bytes < 0)
                most_afters = max(most_afters, afters)
            objects = (rules.AFTER_ALLOWANCE + mapping) * afters + held * most_afters + logs + word * number
            objects += (rules.PARAMETER_DELTAS_ALLOWANCE + mapping) * deltas + rules.PLACE_ALLOWANCE * most_deltas
            passing = 0
            if event.action == "forward":
                temporary = min(items * chain.itemsize, chain.after_bytes[event.layer])
                passing = rules.ANSWER_ALLOWANCE * afters + overhead + temporary
            elif event.action == "workspace" and event.bytes > 0:
                passing = overhead + items * chain.itemsize
            highest = max(highest, live + objects + passing)
        logs += rules.PLACE_ALLOWANCE + (0 if log == before else rules.LOG_ALLOWANCE + word * len(timeline))
        before = log
    chains = [chain for chain, _ in trace.recorded]
    blocks = max(
        -(-chain.batch // block_rows(chain.batch, width, chain.itemsize))
        for chain in chains[1:] or chains
        for width in chain.layers[1:]
    )
    parts = rules.BLOCK_ALLOWANCE * blocks + (rules.PARTS_ALLOWANCE if len(chains) > 1 else 0)
    return rules.STEP_ALLOWANCE + parts + int(highest) - trace.peak_bytes


@given(
    layer_lists(),
    st.sampled_from([1, 40, 3000]),
    st.sampled_from(["float32", "float64"]),
    st.sampled_from([{}, {"step": "train_step"}, {"step": "train_step", "micro_batch": 17}]),
    st.none() | st.integers(0, 2**32).map(whimsical),
)
def test_the_allowance_is_what_following_each_event_comes_to(layers, batch, dtype, step, schedule):
    trace = dry_run(layers, batch=batch, dtype=dtype, schedule=schedule, **step)
    assert allowance_bytes(trace) == followed(trace)
    if "micro_batch" not in step:
        cost = replay(trace.chain, (schedule or store_all())(trace.chain))
        assert rules.STEP_ALLOWANCE < least_allowance_bytes(trace.chain, cost) <= allowance_bytes(trace)
    assert trace.layers_run == [event.layer for event in trace.timeline if event.action == "forward"]


def test_a_deep_network_and_mappings_have_their_allowance():
    for layers, batch in (([3] * 400, 5), ([8, *[600] * 9, 3], 1500)):
        trace = dry_run(layers, batch=batch)
        assert allowance_bytes(trace) == followed(trace)
