"""A dry run says what a training step does, to the byte, without doing it."""

from dataclasses import fields, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from networks import CacheTracker, Network, NetworkWithCheckpointing, Trace, dry_run
from networks.optimizers import SGD
from networks.schedules import store_all
from networks.trace import STEPS
from tests.support.strategies import Configuration, configurations, whimsical


def executed(
    network: Network | NetworkWithCheckpointing, configuration: Configuration, step: str = "backward"
) -> CacheTracker:
    x, y = configuration.data()
    if step == "train_step":
        network.train_step(x, y, SGD(0.1))
    else:
        network.forward(x)
        network.backward(y)
    return network.tracker


def numbers_of_trace(trace: Trace) -> dict[str, object]:
    """Every number of a trace by its name."""
    names = [*(field.name for field in fields(trace)), "timeline", "live_bytes_over_time"]
    return {name: getattr(trace, name) for name in names}


def numbers_of_tracker(tracker: CacheTracker) -> dict[str, object]:
    """Every number of a tracker by its name."""
    public = [name for name, value in vars(CacheTracker).items() if isinstance(value, property)]
    counted = [name for name in vars(tracker) if not name.startswith("_") and name != "phase"]
    return {name: getattr(tracker, name) for name in public + counted}


@given(configurations(), st.sampled_from(STEPS))
def test_a_trace_equals_the_tracker_of_a_step_that_stores_all(configuration: Configuration, step: str):
    """All of its numbers, and every event of the timeline."""
    trace = dry_run(configuration.layers, batch=configuration.batch, dtype=configuration.dtype, step=step)
    assert numbers_of_trace(trace) == numbers_of_tracker(executed(configuration.store_all(), configuration, step))


@given(configurations())
def test_a_trace_equals_the_tracker_of_a_step_with_checkpoints(configuration: Configuration):
    trace = dry_run(
        configuration.layers,
        batch=configuration.batch,
        dtype=configuration.dtype,
        checkpoint_frequency=configuration.checkpoint_frequency,
        recompute=configuration.recompute,
    )
    assert numbers_of_trace(trace) == numbers_of_tracker(executed(configuration.checkpointed(), configuration))


@given(configurations(), st.integers(0, 2**32), st.sampled_from(STEPS))
def test_a_trace_equals_the_tracker_of_a_step_by_any_schedule(configuration: Configuration, seed: int, step: str):
    network = configuration.checkpointed()
    network.schedule = whimsical(seed)
    trace = dry_run(
        configuration.layers, batch=configuration.batch, dtype=configuration.dtype, schedule=whimsical(seed), step=step
    )
    assert numbers_of_trace(trace) == numbers_of_tracker(executed(network, configuration, step))


@given(configurations())
def test_a_step_depends_on_nothing_but_its_configuration(configuration: Configuration):
    """The tracker starts afresh with each forward pass, whatever the network did before, be it with another batch."""
    network = configuration.checkpointed()
    other = replace(configuration, batch=3)
    first = numbers_of_tracker(executed(network, configuration))
    executed(network, other)
    x, _ = other.data()
    network.forward(x)  # left without its backward pass
    assert numbers_of_tracker(executed(network, configuration)) == first


@given(configurations())
def test_live_bytes_add_up(configuration: Configuration):
    """The timeline's running sum, the peak, its parts, and what a step leaves: the parameter deltas it returns."""
    tracker = executed(configuration.checkpointed(), configuration)
    over_time = tracker.live_bytes_over_time
    assert len(over_time) == len(tracker.timeline)
    assert min(over_time) >= 0
    assert max(over_time) == tracker.peak_bytes == sum(tracker.peak_bytes_by_kind.values())
    returned = (inputs * outputs + outputs for inputs, outputs in pairwise(configuration.layers))
    assert over_time[-1] == tracker.live_bytes == sum(returned) * {"float32": 4, "float64": 8}[configuration.dtype]


def test_each_pass_has_its_own_peak():
    # [3, 4, 4, 2], batch 10, 8 bytes. Forward ends with all afters and the delta of the loss, a copy of the outputs;
    # backward begins with them and the last layer's parameter deltas, and ends with those of all layers.
    trace = dry_run([3, 4, 4, 2], batch=10, dtype="float64")
    after, outputs, workspace = 10 * 4, 10 * 2, trace.chain.workspace_bytes
    layer_3, layer_2, layer_1 = (4 + 1) * 2, (4 + 1) * 4, (3 + 1) * 4
    backward = [
        outputs + outputs + 2 * after + layer_3,
        outputs + 2 * after + layer_3 + layer_2,
        outputs + after + layer_3 + layer_2 + layer_1,
    ]
    forward = 2 * after + 2 * outputs
    assert trace.peak_bytes_by_phase == {"forward": 8 * forward + workspace, "backward": 8 * max(backward) + workspace}


@pytest.mark.parametrize("frequency", [None, 2, 100, 10_000])
def test_ten_thousand_layers_are_no_obstacle(frequency: int | None):
    depth = 10_000
    step = dry_run([64] * (depth + 1), batch=256, checkpoint_frequency=frequency)
    not_saved = 0 if frequency is None else sum(layer % frequency != 0 for layer in range(1, depth - 1))
    assert step.forward_steps == depth + not_saved
    assert step.hits + step.misses == depth


def test_a_dry_run_makes_no_array():
    """A step of 16 TiB of activations."""
    assert dry_run([2**8] * 17, batch=2**32).peak_bytes > 2**44


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [4]}, r"layers needs at least two widths, .* got \[4\]"),
        ({"layers": [4, 0]}, r"layers\[1\] must be an integer of at least 1, got 0"),
        ({"batch": 0}, "batch must be an integer of at least 1, got 0"),
        ({"batch": 2.0}, "batch must be an integer of at least 1, got 2.0"),
        ({"checkpoint_frequency": 0}, "checkpoint_frequency must be an integer of at least 1, got 0"),
        ({"checkpoint_frequency": 2, "recompute": "all"}, "recompute must be 'segment' or 'each', got 'all'"),
        (
            {"checkpoint_frequency": 2, "schedule": store_all()},
            r"one of checkpoint_frequency and schedule must be given, got .*=2 and schedule=store_all\(\)",
        ),
        ({"dtype": "float16"}, "dtype must be float32 or float64, got 'float16'"),
    ],
)
def test_a_wrong_argument_is_an_error_that_names_it(options: dict[str, object], message: str):
    with pytest.raises(ValueError, match=f"^{message}$"):
        dry_run(**{"layers": [4, 3, 2], "batch": 8} | options)


def test_recompute_without_a_frequency_is_refused():
    with pytest.raises(ValueError, match=r"^recompute='each' goes with checkpoint_frequency"):
        dry_run([4, 4, 4], batch=2, recompute="each")
