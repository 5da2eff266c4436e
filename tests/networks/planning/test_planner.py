"""Plans: the budget bounds what memray measures, and what cannot be met says what could."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from harness.execute.process import INHERITED
from harness.experiment.measures import MEASURES
from harness.provenance import ROOT
from networks import NetworkWithCheckpointing, dry_run, plan
from networks.chain import LARGEST, Chain
from networks.planning.allowance import allowance_bytes
from networks.planning.by_parts import by_parts, fewest_parts
from networks.planning.network_rows import costed, rows_within
from networks.planning.planner import _least, max_depths
from networks.schedules import FACTORIES, optimal
from networks.schedules.optimal import smallest_budget
from networks.trace import STEPS

LAYERS = [64, 512, *[64] * 6, *[256] * 12, 10]
BATCH = 2048
MIB = 2**20

DELTAS_DOMINATE = [64, *[512] * 8, 10]
"""With a small batch the gradients of 512 x 512 weights are all that counts."""


def measured_steps(kind: str, seeds: range, count: int) -> list[dict]:
    """`count` random networks for each seed, as `tests.slow.measured_plans` draws them: a process each."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    command = [sys.executable, "-m", "tests.slow.measured_plans"]
    options = {
        "cwd": ROOT,
        "env": {**inherited, **MEASURES["memory"].variables},
        "stdout": subprocess.PIPE,
        "text": True,
    }
    processes = [subprocess.Popen([*command, kind, str(seed), str(count)], **options) for seed in seeds]
    lines = [line for process in processes for line in process.communicate()[0].splitlines()]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return [json.loads(line) for line in lines]


def test_no_peak_that_memray_measures_of_300_random_networks_is_above_its_budget():
    plans = measured_steps("plans", range(3), 100)
    assert len(plans) == 300
    for one in plans:
        predicted, allowance = one["predicted_peak_bytes"], one["allowance_bytes"]
        assert one["tracker_peak_bytes"] == predicted, one
        assert one["memray_peak_bytes"] <= predicted + allowance <= one["budget_bytes"], one
        assert allowance <= max(0.005 * predicted, 64 * 1024), one
        smallest, larger = one["forward_flops_of_rising_budgets"]
        assert larger <= smallest, one
    # What was drawn is not all of one kind.
    assert {one["dtype"] for one in plans} == {"float32", "float64"}
    assert {one["step"] for one in plans} == {"backward", "train_step"}
    assert max(len(one["layers"]) for one in plans) == 129
    assert min(one["batch"] for one in plans) == 1
    assert max(one["batch"] for one in plans) > 3500
    assert 100 < sum(one["smallest"] for one in plans) < 200
    assert {one["schedule"].partition("(")[0] for one in plans} >= {"store_all", "evicting", "optimal"}


def test_the_allowance_bounds_the_interpreters_share_where_it_weighs_most():
    """Deep chains of small buffers, and every kind of schedule."""
    steps = measured_steps("schedules", range(2), 50)
    for one in steps:
        predicted, allowance = one["predicted_peak_bytes"], one["allowance_bytes"]
        assert one["tracker_peak_bytes"] == predicted, one
        assert one["memray_peak_bytes"] <= predicted + allowance, one
    kinds = {one["schedule"].partition("(")[0] for one in steps}
    assert kinds == {"store_all", "revolve", "periodic", "greedy", "evicting", "optimal"}
    assert {"segment", "each"} <= {mode for one in steps for mode in one["schedule"].split("'")}
    assert max(len(one["layers"]) for one in steps) > 100


def test_the_allowance_bounds_it_in_steps_by_parts():
    steps = measured_steps("parts", range(2), 10)
    for one in steps:
        assert one["tracker_peak_bytes"] == one["predicted_peak_bytes"], one
        assert one["memray_peak_bytes"] <= one["predicted_peak_bytes"] + one["allowance_bytes"], one
    parts = [-(-one["batch"] // one["micro_batch"]) for one in steps]
    assert min(parts) <= 3
    assert max(parts) > 32
    assert any(one["batch"] % one["micro_batch"] for one in steps)
    assert {len(one["layers"]) > 64 for one in steps} == {True, False}
    assert len({one["schedule"].partition("(")[0] for one in steps}) > 3


def test_the_best_row_does_the_least_work_of_those_that_fit():
    found = plan(LAYERS, batch=BATCH, budget_bytes=12 * MIB)
    assert {row.name.partition(" ")[0] for row in found.rows} == FACTORIES.keys() - {"checkpoint_schedules"}
    fitting = [row for row in found.rows if row.fits]
    assert 0 < len(fitting) < len(found.rows)
    assert found.best in fitting
    assert found.forward_flops == min(row.forward_flops for row in fitting)
    for row in fitting:
        assert row.predicted_peak_bytes + row.allowance_bytes <= 12 * MIB
    step = dry_run(LAYERS, batch=BATCH, schedule=found.schedule)
    assert (found.predicted_peak_bytes, found.forward_steps) == (step.peak_bytes, step.forward_steps)
    assert found.allowance_bytes == allowance_bytes(step)
    assert found.best.dominant_kind == "afters"
    assert NetworkWithCheckpointing(LAYERS, schedule=found.schedule).layers == tuple(LAYERS)


def test_every_row_that_does_not_fit_shows_its_least_peak_or_says_why():
    found = plan(LAYERS, batch=BATCH, budget_bytes=9 * MIB)
    unable = [row for row in found.rows if row.trace is None]
    assert "greedy" in {row.name for row in unable}
    for row in unable:
        assert re.search(r"too small .* (it|they) can meet", row.reason)
        assert not row.fits
        figures = (row.predicted_peak_bytes, row.smallest_budget_bytes, row.forward_steps, row.forward_flops)
        assert {*figures, row.dominant_kind, row.schedule} == {None}
    for row in found.rows:
        assert row in unable or row.fits == (row.smallest_budget_bytes <= 9 * MIB)


@pytest.mark.parametrize("seed", range(8))
def test_micro_batch_is_that_of_the_fewest_parts_that_fit(seed):
    """Against every division of the batch, each part of it run dry."""
    generator = np.random.default_rng(seed)
    layers = generator.integers(1, 65, size=generator.integers(2, 9)).tolist()
    batch, step = int(generator.integers(1, 120)), STEPS[seed % 2]
    rows = sorted({-(-batch // parts) for parts in range(1, batch + 1)}, reverse=True)
    traces = [dry_run(layers, batch=batch, step="train_step", micro_batch=most) for most in rows]
    needed = {most: trace.peak_bytes + allowance_bytes(trace) for most, trace in zip(rows, traces, strict=True)}
    least = plan(layers, batch=batch, budget_bytes=2**40, step=step).smallest_budget_bytes
    for budget in {least, *(size + change for size in needed.values() for change in (0, -1))}:
        fewest = next((most for most in rows if needed[most] <= budget), None)
        if budget >= least:
            found = plan(layers, batch=batch, budget_bytes=budget, step=step)
            assert found.micro_batch == fewest
            if fewest:
                assert found.rival.predicted_peak_bytes == traces[rows.index(fewest)].peak_bytes
                assert found.rival.smallest_budget_bytes == needed[fewest]
            continue
        with pytest.raises(ValueError, match="no schedule meets") as caught:
            plan(layers, batch=batch, budget_bytes=budget, step=step)
        call = "train_step" if fewest == batch else f"train_step(micro_batch={fewest})"
        assert str(caught.value).endswith(f"; {call} fits, and recomputes nothing") == (fewest is not None)


@pytest.mark.parametrize(
    ("layers", "batch"), [((784, 128, 10), 6000), ((4, 2, 2), 4096), ((3, 1), 999), ((2, 2), 1), ((5, 9, 2), 2)]
)
def test_of_large_batches_many_small_parts_may_take_more_than_fewer(layers, batch):
    """Each part has a place in the tracker's log, so that the bytes of a step by parts have their least between."""
    chain = Chain(layers, batch, 4)
    sizes = sorted({-(-batch // parts) for parts in range(1, batch + 1)}, reverse=True)
    needed = {rows: by_parts(chain, rows).smallest_budget_bytes for rows in sizes}
    least = min(needed.values())
    for budget in (1000, least - 1, least, least + 500, least + 20_000):
        found = fewest_parts(chain, budget)
        fewest = next((rows for rows in sizes if needed[rows] <= budget), None)
        assert found == (None if fewest is None else by_parts(chain, fewest))


def test_work_never_rises_with_the_budget_and_ends_with_store_alls():
    budgets = range(9 * MIB, 37 * MIB, 2 * MIB)
    flops = [plan(LAYERS, batch=BATCH, budget_bytes=budget).forward_flops for budget in budgets]
    assert flops == sorted(flops, reverse=True)
    assert len(set(flops)) > 5
    assert flops[-1] == dry_run(LAYERS, batch=BATCH).forward_flops


@pytest.mark.parametrize(("depth", "step"), [(4, 100), (11, 300), (23, 200), (43, 800)])
def test_work_never_rises_where_the_allowance_is_a_large_part_of_the_budget(depth, step):
    layers = np.random.default_rng(depth).integers(1, 8, size=depth + 1).tolist()
    options = {"batch": 105, "dtype": "float64"}
    smallest = plan(layers, budget_bytes=2**40, **options).smallest_budget_bytes
    flops = [plan(layers, budget_bytes=smallest + more, **options).forward_flops for more in range(0, 3000, step)]
    assert flops == sorted(flops, reverse=True)


def test_a_budget_that_nothing_meets_names_the_smallest_one_what_fills_it_and_what_would_lower_it():
    smallest = plan(LAYERS, batch=BATCH, budget_bytes=24 * MIB).smallest_budget_bytes
    assert plan(LAYERS, batch=BATCH, budget_bytes=smallest).smallest_budget_bytes == smallest
    with pytest.raises(ValueError, match="no schedule meets a budget of") as caught:
        plan(LAYERS, batch=BATCH, budget_bytes=4 * MIB)
    assert f"a budget of {4 * MIB} bytes: the smallest that can be met is {smallest} bytes" in str(caught.value)
    assert re.search(
        r"% of its peak are activations; use a smaller batch or narrower layers; "
        r"train_step\(micro_batch=\d+\) fits, and recomputes nothing$",
        str(caught.value),
    )
    with pytest.raises(
        ValueError, match="% of its peak are weight gradients; no schedule lowers them: use fewer or narrower"
    ) as caught:
        plan(DELTAS_DOMINATE, batch=16, budget_bytes=1000)
    assert str(caught.value).endswith("narrower layers, or train_step, which frees each layer's at once")
    with pytest.raises(ValueError, match=r"use fewer or narrower layers$"):
        plan(DELTAS_DOMINATE, batch=1, budget_bytes=1000, step="train_step")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("seed", range(6))
def test_the_smallest_budget_is_met_and_a_byte_less_by_no_row(seed, step):
    """Not even by one of a higher peak, which may have fewer events to log, or fewer objects."""
    generator = np.random.default_rng(seed)
    depth = int(generator.integers(1, 9)) if seed else 20  # floating, and persistent
    layers = generator.integers(1, 65, size=depth + 1).tolist()
    options = {"batch": int(generator.integers(1, 512)), "step": step}
    smallest = plan(layers, budget_bytes=2**40, **options).smallest_budget_bytes
    assert plan(layers, budget_bytes=smallest, **options).best.smallest_budget_bytes == smallest
    with pytest.raises(ValueError, match=f"the smallest that can be met is {smallest} bytes"):
        plan(layers, budget_bytes=smallest - 1, **options)
    chain = Chain(tuple(layers), options["batch"], 4, deltas_pile_up=step == "backward")
    least = dry_run(layers, schedule=optimal(budget_bytes=smallest_budget(chain)), **options)
    assert smallest <= least.peak_bytes + allowance_bytes(least)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("layers", "batch"),
    [
        ([8, *[16] * 11, 4], 64),
        ([6, 40, 3, 9, 200, 4, 7, 7, 7, 90, 2], 300),
        ([3, *[4, 4, 60] * 3, 5], 1000),
        ([5, 6], 7),
    ],
)
def test_the_smallest_budget_is_that_of_lowering_it_by_the_row_that_lowers_it_most(layers, batch, step):
    """Which searches every row for each budget, and takes as many times as long."""
    chain = Chain(tuple(layers), batch, 4, deltas_pile_up=step == "backward")
    schedule = optimal(budget_bytes=smallest_budget(chain))
    rows = [costed(chain, "optimal", schedule, LARGEST)]
    while rows:
        least = min(rows, key=lambda row: row.smallest_budget_bytes)
        rows = [row for row in rows_within(chain, least.smallest_budget_bytes - 1, {}) if row.fits]
    told = _least(chain)
    assert (told.smallest_budget_bytes, told.forward_flops) == (least.smallest_budget_bytes, least.forward_flops)
    assert told.name == least.name


def test_a_step_that_frees_deltas_as_it_goes_needs_less():
    backward, train_step = (plan(DELTAS_DOMINATE, batch=16, budget_bytes=24 * MIB, step=step) for step in STEPS)
    assert train_step.smallest_budget_bytes < backward.smallest_budget_bytes / 3
    step = dry_run(DELTAS_DOMINATE, batch=16, schedule=train_step.schedule, step="train_step")
    assert train_step.predicted_peak_bytes == step.peak_bytes


def test_where_checkpointing_saves_next_to_nothing_a_plan_says_so_and_why():
    assert plan(LAYERS, batch=BATCH, budget_bytes=24 * MIB).advice == ""
    advice = plan(DELTAS_DOMINATE, batch=16, budget_bytes=24 * MIB).advice
    assert re.match(r"no schedule saves more than \d\.\d% of store-all's \d+ bytes here: \d+% of its peak are", advice)
    assert "weight gradients; no schedule lowers them" in advice


def test_depths_are_those_that_planning_each_depth_finds():
    """One after the other, from no hidden layer to more than fit."""
    options = {"batch": 64, "budget_bytes": 48_128}
    depths = max_depths(8, 16, 4, **options, limit=20)
    fitting = [
        {row.name for row in plan([8, *[16] * depth, 4], **options).rows if row.fits}
        for depth in range(1, max(depths.values()) + 1)
    ]
    assert depths == {name: sum(name in names for names in fitting) for name in depths}
    assert 0 < depths["store_all"] < depths["revolve"] <= depths["optimal"] < 20
    with pytest.raises(ValueError, match="no schedule meets"):
        plan([8, *[16] * (max(depths.values()) + 1), 4], **options)


def test_depths_end_at_the_limit_and_at_none():
    assert set(max_depths(8, 16, 4, batch=64, budget_bytes=2**40, limit=37).values()) == {37}
    assert set(max_depths(8, 16, 4, batch=64, budget_bytes=1000, limit=37).values()) == {0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch must be an integer of at least 1, got 0"),
        ({"budget_bytes": 0}, "budget_bytes must be an integer of at least 1, got 0"),
        ({"budget_bytes": 1.5e6}, "budget_bytes must be an integer of at least 1, got 1500000.0"),
        ({"step": "forward"}, "step must be 'backward' or 'train_step', got 'forward'"),
        ({"dtype": "int8"}, "dtype must be float32 or float64, got 'int8'"),
        ({"layers": [64]}, "layers needs at least two widths, the inputs and the outputs, got [64]"),
    ],
)
def test_bad_arguments_are_named(options, message):
    arguments = {"layers": [64, 10], "batch": 4, "budget_bytes": MIB, **options}
    with pytest.raises(ValueError, match=re.escape(message)):
        plan(arguments.pop("layers"), **arguments)
