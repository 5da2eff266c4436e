"""What the tables of several frameworks say, against tables written by hand, and the command that prints it."""

from dataclasses import replace

import pandas as pd
import pytest
from typer.testing import CliRunner

from harness.analysis import frameworks
from harness.commands.command_line import app
from harness.experiment.job import Job, Outcome
from harness.experiment.measures import ALLOCATORS
from harness.results.rows import rows_of
from harness.results.schemas import parse_table
from harness.results.store import Store
from harness.results.store import _csv as csv_of
from tests.support.cells import ENVIRONMENT, memory_row, store_all_cell

MIB = 2**20

OURS = store_all_cell("64,128x8,10", batch=1024)
TRAIN_STEP = replace(OURS, step="train_step")
TORCH = replace(OURS, network=None, peer="torch.store-all")
CHECKPOINT = replace(OURS, network=None, peer="torch.checkpoint", checkpoint_frequency=4)
JAX = replace(OURS, network=None, peer="jax.scan_checkpoint", checkpoint_frequency=4)
FAILED = replace(OURS, network=None, peer="jax.scan")

PEAKS = {TORCH: 10 * MIB, CHECKPOINT: 6 * MIB, JAX: 7 * MIB}
SECONDS = {OURS: 0.2, TRAIN_STEP: 0.2, TORCH: 0.3, CHECKPOINT: 0.4, JAX: 0.1}
FLOORS = (0.1, 0.1, 0.1, 0.05, 0.2)


def memory_of(cell):
    if cell is FAILED:
        return Outcome(None, error="RuntimeError: no loop")
    evidence = {
        "gradient_error": 0.0,
        "gradient_error_double": 0.0,
        "executed_products": 26,
        "activation_blocks_at_peak": 8,
    }
    if cell.peer is None:
        return Outcome([[memory_row(cell) | evidence]])
    zero = ("activation_buffers", "parameter_deltas", "workspace")
    peak = {"forward_steps": 9, "memray_peak_bytes": PEAKS[cell], "memray_other_bytes": PEAKS[cell]}
    return Outcome([[peak | {f"memray_{kind}_bytes": 0 for kind in zero} | evidence]])


def resident_of(cell, allocator):
    """Resident is what PyTorch's plain step asks for, and more in each repeat than in the one before."""
    rows = [
        {"allocator": allocator, "repeat": i, "resident_before_bytes": 50 * MIB, "resident_peak_bytes": (10 + i) * MIB}
        for i in range(3)
    ]
    return Outcome(None, error="MemoryError") if cell is JAX else Outcome([rows])


def time_of(cell):
    return Outcome(
        [
            [
                {
                    "repeat": repeat,
                    "position": 2 * repeat,
                    "loops": 1,
                    "cpu": 0,
                    "step_seconds": SECONDS[cell],
                    "floor_seconds": floor,
                    "repeats": len(FLOORS),
                }
                for repeat, floor in enumerate(FLOORS)
            ]
        ]
    )


def all_rows(outcomes):
    return [row for job, outcome in outcomes for row in rows_of(job, outcome)]


CELLS = (OURS, TRAIN_STEP, TORCH, CHECKPOINT, JAX, FAILED)
ROWS = {
    "peers_memory": all_rows((Job(measure="peers_memory", cells=(cell,)), memory_of(cell)) for cell in CELLS),
    "resident": all_rows(
        (Job(measure="resident", cells=(cell,), settings={"allocator": allocator}), resident_of(cell, allocator))
        for cell in CELLS[:-1]
        for allocator in ALLOCATORS
    ),
    "peers_time": all_rows((Job(measure="peers_time", cells=(cell,)), time_of(cell)) for cell in CELLS[:-1]),
}


def finished(name) -> pd.DataFrame:
    table = parse_table(name, csv_of(name, ROWS[name]), where=name)
    return table[table["status"] == "ok"].assign(chain="")


def test_a_variant_is_named_by_its_framework_its_kind_and_its_n():
    names = frameworks.with_names(finished("peers_memory"))["name"]
    assert names.tolist() == [
        "ours store-all",
        "ours train step",
        "torch store-all",
        "torch checkpoint, n = 4",
        "jax scan checkpoint, n = 4",
    ]


def test_schedules_of_our_own_train_steps_have_names_of_their_own():
    table = (
        finished("peers_memory")
        .iloc[[1, 1]]
        .assign(network="NetworkWithCheckpointing", schedule=["sqrt()", "revolve(slots=4)"])
    )
    assert frameworks.with_names(table)["name"].tolist() == [
        "ours train step, sqrt()",
        "ours train step, revolve(slots=4)",
    ]


def test_networks_of_another_type_have_their_own_plain_step():
    table = finished("peers_memory")
    double = table.assign(dtype="float64", memray_peak_bytes=2 * table["memray_peak_bytes"])
    both = frameworks.peers_savings(pd.concat([table, double]))
    assert len(both) == 2 * len(table)
    assert both.groupby("dtype")["saved_share"].apply(list).map(str).nunique() == 1


def test_savings_are_those_against_the_frameworks_own_plain_step():
    table = frameworks.peers_savings(finished("peers_memory")).set_index("name")
    assert table.loc["torch checkpoint, n = 4", "saved_share"] == pytest.approx(0.4)
    assert table.loc["torch store-all", "saved_share"] == table.loc["ours store-all", "saved_share"] == 0
    assert pd.isna(table.loc["jax scan checkpoint, n = 4", "saved_share"])  # whose plain step has failed


def test_segments_promise_to_hold_checkpoints_a_segment_and_a_delta():
    table = frameworks.peers_savings(finished("peers_memory")).set_index("name")
    assert table.loc["torch checkpoint, n = 4", "promised_share"] == pytest.approx(1 - (2 + 4 + 1) / (8 + 1))
    assert pd.isna(table.loc["torch store-all", "promised_share"])


def test_resident_peaks_stand_beside_what_was_requested():
    table = frameworks.resident_peaks(finished("peers_memory"), finished("resident"))
    assert len(table) == 4 * len(ALLOCATORS)
    for _, row in table[table["name"] == "torch checkpoint, n = 4"].iterrows():
        assert (row["resident_low_bytes"], row["resident_bytes"], row["resident_high_bytes"]) == (
            10 * MIB,
            11 * MIB,
            12 * MIB,
        )
        assert (row["requested_bytes"], row["kept_bytes"]) == (6 * MIB, 5 * MIB)


def test_a_step_is_held_against_the_products_of_its_own_repeat():
    times = frameworks.step_times(finished("peers_time")).set_index("cell_id")
    row = times.loc[TORCH.cell_id]
    assert (row["step_seconds"], row["floor_seconds"], row["repeats"]) == (0.3, 0.1, 5)
    assert row["over_floor"] == pytest.approx(3)
    assert row["over_floor_low"] == pytest.approx(1.5)
    assert row["over_floor_high"] == pytest.approx(6)


def test_the_command_prints_a_row_a_variant_and_the_reason_of_one_that_failed(tmp_path):
    Store(tmp_path).publish(ROWS, ENVIRONMENT)
    result = CliRunner().invoke(app, ["peers", str(tmp_path)])
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert "torch checkpoint, n = 4 6.0 40% 22% 26 8 11.0 11.0 5.0 400.0 100.0 4.00 5" in lines
    assert "jax scan checkpoint, n = 4 7.0 22% 26 8 100.0 100.0 1.00 5" in lines  # resident memory was not measured
    assert "jax scan: RuntimeError: no loop" in lines


def test_the_command_prints_peaks_where_nothing_else_was_measured(tmp_path):
    Store(tmp_path).publish({"peers_memory": ROWS["peers_memory"]}, ENVIRONMENT)
    result = CliRunner().invoke(app, ["peers", str(tmp_path)])
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert "step peak saved promised products blocks" in lines
    assert "torch checkpoint, n = 4 6.0 40% 22% 26 8" in lines


def test_the_command_says_what_is_missing_where_something_else_was_measured(tmp_path):
    Store(tmp_path).publish({"resident": ROWS["resident"]}, ENVIRONMENT)
    result = CliRunner().invoke(app, ["peers", str(tmp_path)])
    assert result.exit_code == 2
    assert "peers_memory.csv" in result.output
    assert "Traceback" not in result.output
