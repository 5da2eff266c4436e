"""A step read as spans: every buffer in every state, to the byte."""

import pytest

from harness.analysis.trace import PARAMETER_DELTAS, RECOMPUTED, STATES, WORKING, span_bytes, spans
from networks import dry_run
from networks.schedules.spec import parse_schedule

LAYERS = [64, *[128] * 12, 32, 96, *[128] * 6, 10]


@pytest.mark.parametrize("step", ["backward", "train_step"])
@pytest.mark.parametrize(
    "schedule",
    [
        *("store_all()", "sqrt()", "periodic(4, recompute='each')", "revolve(slots=3)"),
        *("evicting(budget_bytes=1900000, heuristic='dtr')", "optimal(budget_bytes=1900000)"),
    ],
)
def test_the_spans_of_an_event_add_up_to_what_is_live_after_it(schedule, step):
    trace = dry_run(LAYERS, batch=256, schedule=parse_schedule(schedule), step=step)
    live = [0] * len(trace.timeline)
    for span in spans(trace):
        for event in range(span.start, span.stop):
            live[event] += span_bytes(trace.chain, span.layer, span.state)
    assert live == trace.live_bytes_over_time


def test_a_step_of_two_layers_by_hand():
    trace = dry_run([4, 3, 2], batch=5)
    events = [(event.action, event.layer) for event in trace.timeline]
    told = {(span.layer, STATES[span.state]): (span.start, span.stop) for span in spans(trace)}
    backward = events.index(("parameter_deltas", 2))
    assert told[1, "kept"] == (events.index(("keep", 1)), events.index(("overwrite", 1)))
    assert told[1, "output gradients"][0] == events.index(("overwrite", 1)) > backward
    assert told[2, "weight gradients"] == (backward, len(events))


def test_recomputed_are_those_that_were_run_before():
    trace = dry_run([8] * 10, batch=4, checkpoint_frequency=3)
    forward = next(event for event, (phase, *_) in enumerate(trace.timeline) if phase == "backward")
    for span in spans(trace):
        if span.state == WORKING:
            assert span.start < forward
        if span.state in (RECOMPUTED, PARAMETER_DELTAS):
            assert span.start >= forward


def test_a_step_in_parts_is_refused():
    with pytest.raises(ValueError, match="in parts"):
        spans(dry_run([8, 8, 2], batch=8, step="train_step", micro_batch=4))
