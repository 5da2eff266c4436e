"""Real workers on tiny cells: what they measure agrees with what is known otherwise."""

import math
import os
from dataclasses import replace

import pytest

from harness.execute.process import run_in_subprocess
from harness.experiment.columns import KEY_COLUMNS
from harness.experiment.job import Job
from harness.experiment.measures import MEASURES, TABLES
from harness.experiment.prediction import trace_of
from harness.worker.__main__ import function_of
from tests.support.cells import measured, store_all_cell

STORE_ALL = store_all_cell("64,128x7,10", batch=64)
CHECKPOINTED = replace(STORE_ALL, network="NetworkWithCheckpointing", checkpoint_frequency=3, recompute="segment")
SCHEDULED = replace(STORE_ALL, network="NetworkWithCheckpointing", schedule="revolve(slots=2)")
TRAINED = replace(CHECKPOINTED, step="train_step")
PARTED = replace(SCHEDULED, step="train_step", micro_batch=24)

ADDED_BY_THE_PARENT = {
    "predicted_peak_bytes",
    "predicted_forward_peak_bytes",
    "predicted_backward_peak_bytes",
    "residual_bytes",
    "error",
}


@pytest.mark.parametrize(
    "cell",
    [
        STORE_ALL,
        CHECKPOINTED,
        replace(CHECKPOINTED, dtype="float64", activation="tanh"),
        SCHEDULED,
        TRAINED,
        PARTED,
        replace(PARTED, network="Network", schedule=None),
    ],
)
def test_memory_is_what_the_dry_run_predicts_and_memray_sees_a_little_more(cell):
    ((row,),) = measured("memory", cell)
    assert row.keys() == {*TABLES["memory"].names} - {*KEY_COLUMNS, *ADDED_BY_THE_PARENT}
    trace = trace_of(cell)
    assert row["tracker_peak_bytes"] == trace.peak_bytes
    assert (row["forward_steps"], row["hits"], row["misses"]) == (trace.forward_steps, trace.hits, trace.misses)
    assert 0 < row["memray_peak_bytes"] - trace.peak_bytes < 32 * 1024
    for phase, predicted in trace.peak_bytes_by_phase.items():
        assert 0 < row[f"memray_{phase}_peak_bytes"] - predicted < 32 * 1024
    assert row["memray_peak_bytes"] == max(row["memray_forward_peak_bytes"], row["memray_backward_peak_bytes"])
    sites = ["activation_buffers", "parameter_deltas", "workspace", "other"]
    assert sum(row[f"memray_{site}_bytes"] for site in sites) == row["memray_peak_bytes"]
    kinds = ["checkpoints", "working_afters", "deltas", "parameter_deltas", "workspace"]
    assert sum(row[f"tracker_{kind}_bytes"] for kind in kinds) == row["tracker_peak_bytes"]


@pytest.mark.parametrize("measure", MEASURES)
def test_the_registry_names_the_function_of_each_measure(measure):
    if MEASURES[measure].worker.startswith("models."):
        pytest.importorskip("torch")
    assert function_of(measure).__doc__


def test_memory_and_timeline_repeat_to_the_byte(monkeypatch, tmp_path):
    first = [measured(measure, CHECKPOINTED) for measure in ("memory", "timeline")]
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert [measured(measure, CHECKPOINTED) for measure in ("memory", "timeline")] == first


def test_a_timeline_is_the_trackers_with_what_memray_saw_at_each_event():
    (rows,) = measured("timeline", CHECKPOINTED)
    trace = trace_of(CHECKPOINTED)
    assert [(row["phase"], row["action"], row["layer"], row["bytes"]) for row in rows] == trace.timeline
    assert [row["live_bytes"] for row in rows] == trace.live_bytes_over_time
    assert [row["event"] for row in rows] == list(range(len(rows)))
    # A new buffer's event may come just before or after its allocation; elsewhere only small objects stand between.
    largest = max(abs(row["bytes"]) for row in rows)
    assert all(abs(row["memray_live_bytes"] - row["live_bytes"]) < largest + 32 * 1024 for row in rows)
    closest = sorted(abs(row["memray_live_bytes"] - row["live_bytes"]) for row in rows)
    assert closest[len(rows) // 2] < 32 * 1024


def test_time_takes_every_variant_once_a_round_in_a_shuffled_order():
    cells = [STORE_ALL, CHECKPOINTED, SCHEDULED]
    rows = measured("time", *cells, repeats=15, order_seed=0)
    assert [[row["repeat"] for row in variant] for variant in rows] == [list(range(15))] * 3
    assert sorted(row["position"] for variant in rows for row in variant) == list(range(45))
    assert all(row["position"] // 3 == row["repeat"] for variant in rows for row in variant)
    orders = {tuple(variant[repeat]["position"] % 3 for variant in rows) for repeat in range(15)}
    assert len(orders) > 1
    for row in rows[0]:
        assert row["step_seconds"] == row["forward_seconds"] + row["backward_seconds"]
        assert row["loops"] == rows[0][0]["loops"] >= 1
        assert row["cpu"] in os.sched_getaffinity(0)
        assert 0 < row["forward_seconds"] < 1


def test_a_train_step_is_timed_as_a_whole():
    whole, parted = measured("time", TRAINED, PARTED, repeats=15, order_seed=0)
    assert all(row["step_seconds"] > 0 and "forward_seconds" not in row for row in (*whole, *parted))


def test_training_learns_the_digits_and_checkpointing_changes_no_figure_but_time():
    settings = {"epochs": 4, "learning_rate": 0.1, "momentum": 0.5, "order_seed": 0}
    plain, checkpointed, resplit = measured("training", STORE_ALL, CHECKPOINTED, replace(STORE_ALL, seed=1), **settings)
    assert [row["epoch"] for row in plain] == [1, 2, 3, 4]
    assert plain[-1]["test_accuracy"] > 0.85
    for row in (*plain, *checkpointed, *resplit):
        assert row.pop("epoch_seconds") > 0
    assert plain == checkpointed
    assert plain != resplit


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's own word on what overflows
def test_a_training_that_diverges_is_measured_to_its_end():
    settings = {"epochs": 3, "learning_rate": 1e30, "momentum": 0.5, "order_seed": 0}
    plain, checkpointed = measured("training", STORE_ALL, CHECKPOINTED, **settings)
    for rows in (plain, checkpointed):
        assert [row["epoch"] for row in rows] == [1, 2, 3]
        assert all(math.isnan(row["train_loss"]) and math.isnan(row["test_loss"]) for row in rows)
        assert [row["test_accuracy"] for row in rows] == [0, 0, 0]
        assert rows[-1]["train_accuracy"] == 0


def test_a_worker_describes_what_it_runs_on_without_naming_it():
    ((place,),) = run_in_subprocess(Job(measure="environment", cells=())).rows
    machine = place["machine"]
    assert machine["blas"][0]["num_threads"] == 1
    assert machine.keys() >= {"cpu", "os", "libc", "python", "numpy", "memray"}
    assert "/" not in str(machine)
