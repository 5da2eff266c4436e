"""The plan command: what it prints, what it measures, what it adds up, and what it says to wrong input."""

import json

import pytest
from typer.testing import CliRunner

from harness.commands import plan_measured
from harness.commands import plan_network as planning
from harness.commands.command_line import app
from harness.commands.plan_measured import predict_times, rows_by_name
from harness.execute.process import run_in_subprocess
from harness.experiment.job import Job, Outcome
from harness.sizes import format_bytes
from networks import Plan, dry_run
from networks.planning.network_rows import PlanRow
from networks.schedules import FACTORIES, revolve, store_all
from tests.support.cells import store_all_cell

NETWORK = ("--layers", "64,128x15,10", "--batch", "512")
FITS = "2MB"
TIED = ("--layers", "64,128x31,10", "--batch", "1024")

ROW = {"name", "fits", "best"}
PLANNED = ROW | {
    *("schedule", "predicted_peak_bytes", "allowance_bytes", "forward_steps", "forward_flops", "work_ratio"),
    *("dominant_kind", "peak_bytes_by_kind", "predicted_time_ratio"),
}
MEASURED = PLANNED | {"memray_peak_bytes", "time_ratio", "time_ratio_low", "time_ratio_high"}


def invoke(*arguments):
    return CliRunner().invoke(app, ["plan", *map(str, arguments)])


def answer(*arguments):
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch):
    """A busy machine may take any time."""
    monkeypatch.setattr(planning, "PATIENCE_SECONDS", 3600)


def test_a_plan_is_a_row_a_schedule_with_the_best_marked():
    result = invoke(*NETWORK, "--budget", FITS)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert (
        lines[0]
        == "layers 64,128x15,10, batch 512, float32: a training step (backward) within 1.91 MiB (2,000,000 bytes)"
    )
    for name in FACTORIES.keys() - {"checkpoint_schedules"}:
        assert any(name in line for line in lines), name
    (best,) = (line.split("  ")[0].strip() for line in lines if " best " in line)
    assert f"best: NetworkWithCheckpointing(layers, schedule={best})" in lines
    assert "time: step time, divided by that of store-all; predicted from matrix products that are timed here" in lines
    assert any(line.startswith("the smallest budget that can be met: ") for line in lines)
    assert "measured" not in result.stdout


def test_json_has_integer_bytes_and_the_documented_keys():
    found = answer(*NETWORK, "--budget", FITS, "--optimizer", "adam")
    assert found.keys() == {
        *("layers", "batch", "dtype", "step", "budget_bytes", "smallest_budget_bytes", "schedule", "micro_batch"),
        *("rival", "rows", "bill", "advice", "notes"),
    }
    assert (found["layers"], found["batch"], found["dtype"]) == ("64,128x15,10", 512, "float32")
    assert (found["budget_bytes"], found["advice"], found["notes"]) == (2_000_000, "", [])
    assert [row["schedule"] for row in found["rows"] if row["best"]] == [found["schedule"]]
    for row in found["rows"]:
        assert row.keys() in (PLANNED, ROW | {"reason"})
        if "reason" not in row:
            assert row["fits"] == (row["predicted_peak_bytes"] + row["allowance_bytes"] <= 2_000_000)
            assert row["work_ratio"] >= 1
            assert row["predicted_time_ratio"] >= 1
    sizes = {**found, **found["bill"], **found["rows"][0]}
    assert all(type(size) is int for name, size in sizes.items() if name.endswith("_bytes"))


@pytest.mark.parametrize(
    ("arguments", "micro_batch", "line"),
    [
        (
            (*NETWORK, "--budget", FITS),
            103,
            "Network(layers).train_step(.., micro_batch=103) fits, the batch in 5 parts",
        ),
        (
            ("--layers", "64,512x3,10", "--batch", 64, "--budget", "2.7MB"),
            64,
            "Network(layers).train_step(..) fits",
        ),
        (
            ("--layers", "64,512x8,10", "--batch", 64, "--budget", FITS, "--step", "train_step"),
            None,
            "no train_step of Network(layers) fits, not even with micro_batch=1",
        ),
    ],
)
def test_the_rival_that_recomputes_nothing_is_named(arguments, micro_batch, line):
    assert f"without recomputation: {line}" in invoke(*arguments).stdout.splitlines()
    assert answer(*arguments)["micro_batch"] == micro_batch


def test_the_rival_has_its_peak_its_work_and_its_predicted_time(monkeypatch):
    """Of a layer's products each takes a second for the batch, and half a second for a part of a fifth of it."""
    asked = []

    def answered(job):
        asked.extend(cell.batch for cell in job.cells)
        seconds = [1 if batch == 512 else 0.5 for batch in asked[-2:]]
        layers = range(1, job.cells[0].depth + 1)
        return Outcome([[{"layer": n, "forward_seconds": s, "backward_seconds": s} for n in layers] for s in seconds])

    monkeypatch.setattr(plan_measured, "run_in_subprocess", answered)
    arguments = (*NETWORK, "--budget", FITS)
    rival = answer(*arguments)["rival"]
    assert asked == [512, 103]
    step = dry_run([64, *[128] * 15, 10], batch=512, step="train_step", micro_batch=103)
    assert (rival["micro_batch"], rival["parts"]) == (103, 5)
    assert rival["predicted_peak_bytes"] == step.peak_bytes
    assert rival["predicted_peak_bytes"] + rival["allowance_bytes"] <= 2_000_000
    assert rival["work_ratio"] == step.forward_flops / dry_run([64, *[128] * 15, 10], batch=512).forward_flops == 1
    assert rival["predicted_time_ratio"] == pytest.approx(0.5 * 512 / 103)
    peak, allowance = (format_bytes(rival[name]) for name in ("predicted_peak_bytes", "allowance_bytes"))
    line = f"its predicted peak {peak}, allowance {allowance}, work 1.000, time 2.485"
    assert line in invoke(*arguments).stdout.splitlines()
    whole = answer("--layers", "64,512x3,10", "--batch", 64, "--budget", "2.7MB")["rival"]
    assert (whole["parts"], whole["predicted_time_ratio"]) == (1, 1)
    none = answer("--layers", "64,512x8,10", "--batch", 64, "--budget", FITS, "--step", "train_step")
    assert none["rival"] is None


def test_a_tie_goes_to_optimal_and_is_told():
    found = answer(*TIED, "--budget", "6MiB")
    (best,) = (row for row in found["rows"] if row["best"])
    (even,) = (row for row in found["rows"] if row["name"] == "evicting dtr")
    figures = ("forward_flops", "predicted_peak_bytes", "fits")
    assert [even[name] for name in figures] == [best[name] for name in figures]
    assert best["name"] == "optimal"
    said = "evicting dtr and optimal tie in work and peak; a tie goes to optimal"
    assert said in invoke(*TIED, "--budget", "6MiB").stdout.splitlines()


def test_where_nothing_is_recomputed_store_all_is_best():
    found = answer(*TIED, "--budget", "1GiB")
    assert [row["name"] for row in found["rows"] if row["work_ratio"] > 1] == ["sqrt"]
    assert found["schedule"] == "store_all()"
    assert "a tie" not in invoke(*TIED, "--budget", "1GiB").stdout


def test_measuring_adds_the_peak_and_the_time_of_the_best_and_of_store_all():
    found = answer(*NETWORK, "--budget", FITS, "--measure")
    (best,) = (row for row in found["rows"] if row["best"])
    (everything,) = (row for row in found["rows"] if row["name"] == "store_all")
    assert best.keys() == everything.keys() == MEASURED
    assert sum(row.keys() == MEASURED for row in found["rows"]) == 2
    for row in (best, everything):
        over = row["memray_peak_bytes"] - row["predicted_peak_bytes"]
        assert 0 < over <= row["allowance_bytes"]
    assert best["memray_peak_bytes"] <= 2_000_000 < everything["memray_peak_bytes"]
    assert best["time_ratio_low"] <= best["time_ratio"] <= best["time_ratio_high"]
    assert everything["time_ratio_low"] == everything["time_ratio"] == 1


def test_measured_columns_are_shown_and_store_all_is_measured_once_where_it_is_best():
    result = invoke("--layers", "8,4x3,3", "--batch", 5, "--budget", "1MiB", "--measure")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith("schedule "))
    assert lines[at - 1].split()[-2:] == ["measured", "measured"]
    assert lines[at].split()[-2:] == ["peak", "time"]
    assert result.stdout.count("1.000 [1.000, 1.000]") == 1


def test_predicted_time_is_the_products_of_the_layers_that_are_run(monkeypatch):
    """Of three layers whose forward takes 1, 2 and 4 seconds and all of backward 10, one slot runs the first twice."""
    forward, backward = (1, 2, 4), (0, 3, 7)
    products = [
        {"layer": layer, "forward_seconds": forward[layer - 1], "backward_seconds": backward[layer - 1]}
        for layer in (1, 2, 3)
    ]
    asked = []

    def answered(job):
        asked.append(job)
        return Outcome([products])

    monkeypatch.setattr(plan_measured, "run_in_subprocess", answered)
    schedules = {"store_all": store_all(), "revolve": revolve(slots=1)}
    traces = {name: dry_run([5, 5, 5, 5], batch=2, schedule=schedule) for name, schedule in schedules.items()}
    rows = [PlanRow(name, schedule, traces[name], 0, fits=True) for name, schedule in schedules.items()]
    rows.append(PlanRow("greedy", None, None, 0, fits=False, refusal=ValueError("none")))
    found = Plan(rows[0].schedule, 0, 0, 3, 0, 0, tuple(rows), "", None)
    filled = rows_by_name(found)
    assert predict_times(found, filled, None, dtype="float32") == []
    assert filled["store_all"]["predicted_time_ratio"] == 1
    assert filled["revolve"]["predicted_time_ratio"] == pytest.approx(18 / 17)
    assert filled["greedy"] == {"name": "greedy", "fits": False, "best": False, "reason": "none"}
    (job,) = asked
    assert (job.measure, job.cells[0].network, job.cells[0].layers) == ("products", "Network", "5x4")


def test_what_cannot_be_measured_here_is_planned_all_the_same(monkeypatch):
    monkeypatch.setattr(plan_measured, "run_in_subprocess", lambda job: Outcome(None, "MemoryError: 1 TiB"))
    result = invoke(*NETWORK, "--budget", FITS, "--measure")
    assert result.exit_code == 0
    assert " time " not in result.stdout.splitlines()[2]
    for line in (
        "time is not predicted, because no matrix products could be timed: MemoryError: 1 TiB",
        "the peak of store_all could not be measured: MemoryError: 1 TiB",
        "time could not be measured: MemoryError: 1 TiB",
    ):
        assert line in result.stdout.splitlines()


def test_products_are_timed_for_each_layer_and_scaled_from_a_part_of_a_large_batch():
    cell = store_all_cell("64,128x3,10", batch=64)
    outcome = run_in_subprocess(Job(measure="products", cells=(cell,)))
    (rows,) = outcome.rows
    assert [row["layer"] for row in rows] == [1, 2, 3, 4]
    assert rows[1] == {**rows[2], "layer": 2}
    assert all(0 < row["forward_seconds"] < 0.01 > row["backward_seconds"] > 0 for row in rows)
    found = answer("--layers", "64,128x3,10", "--batch", 10**12, "--budget", "10000TB")
    assert found["notes"] == []
    assert found["rows"][0]["predicted_time_ratio"] == 1


# The bill


def test_a_total_budget_bounds_the_sum_and_plans_with_what_is_left():
    total = answer(*NETWORK, "--budget-total", "6MB", "--optimizer", "adam")
    held = total["bill"]
    parts = [held[f"{part}_bytes"] for part in ("parameters", "optimizer_state", "data")]
    assert total["budget_bytes"] == 6_000_000 - sum(parts)
    assert held["total_bytes"] == sum(parts) + max(held["step_bytes"], held["update_bytes"]) <= 6_000_000
    same = answer(*NETWORK, "--budget", total["budget_bytes"])
    assert same["schedule"] == total["schedule"] != "store_all()"
    printed = invoke(*NETWORK, "--budget-total", "6MB", "--optimizer", "adam").stdout
    assert "the whole bill: parameters 940.54 KiB, state of adam 1.84 MiB, data 132.00 KiB, " in printed


def test_a_dtype_may_be_written_as_numpy_writes_it():
    assert answer(*NETWORK, "--budget", FITS, "--dtype", "f")["dtype"] == "float32"


def test_a_train_step_is_planned_measured_and_billed_as_one():
    network = ("--layers", "64,512x3,10", "--batch", 16, "--budget", "3MiB")
    found = answer(*network, "--step", "train_step", "--measure")
    assert found["step"] == "train_step"
    (best,) = (row for row in found["rows"] if row["best"])
    assert best["memray_peak_bytes"] <= best["predicted_peak_bytes"] + best["allowance_bytes"]
    assert found["bill"]["update_bytes"] == 0
    assert found["bill"]["step_bytes"] < answer(*network)["bill"]["step_bytes"] / 1.5
    assert "a training step (train_step) within 3.00 MiB" in invoke(*network, "--step", "train_step").stdout


def test_what_takes_longer_than_two_seconds_is_said_on_stderr_and_nothing_else(monkeypatch):
    monkeypatch.setattr(planning, "PATIENCE_SECONDS", 0)
    assert invoke(*NETWORK, "--budget", FITS, "--json").stderr == "planning: deep chains take up to minutes\n"


# Depths


def test_depths_are_told_for_every_schedule(monkeypatch):
    found = answer("--layers", "8,16,4", "--batch", 64, "--budget", 48_128, "--max-depth")
    assert (found["max_depth_width"], found["max_depths"]["store_all"], found["max_depths"]["optimal"]) == (16, 3, 8)
    assert found["max_depths"].keys() == {row["name"] for row in found["rows"]}
    assert found["layers"] == "8,16x8,4"  # the deepest is planned
    fitting = {row["name"] for row in found["rows"] if row["fits"]}
    assert fitting == {name for name, depth in found["max_depths"].items() if depth == 8}
    deeper = answer("--layers", "8,16x50,4", "--batch", 64, "--budget", 48_128, "--max-depth")
    timed = ("rows", "rival", "notes")
    assert {k: v for k, v in deeper.items() if k not in timed} == {k: v for k, v in found.items() if k not in timed}
    monkeypatch.setattr(planning, "DEPTH_LIMIT", 30)
    printed = invoke("--layers", "8,4x2,4", "--batch", 1, "--budget", "1GB", "--max-depth").stdout
    assert "hidden layers of 4 that fit: store_all 30 or more, periodic 30 or more" in printed


# Wrong input


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            (*NETWORK, "--budget", "24Mb ps"),
            "--budget must be written like 24MiB, 1.5GB or 65536 (bytes), got ",
        ),
        ((*NETWORK, "--budget", "0"), "--budget must be at least 1 byte, got '0'"),
        (NETWORK, "one of --budget and --budget-total must be given"),
        ((*NETWORK, "--budget", FITS, "--budget-total", FITS), "only one of --budget and --budget-total must be given"),
        (("--layers", "64,ten", "--batch", 5, "--budget", FITS), "--layers '64,ten': 'ten' is not a width such as 128"),
        (("--layers", "64", "--batch", 5, "--budget", FITS), "--layers needs at least two widths"),
        (
            ("--layers", "8,9x9999999", "--batch", 5, "--budget", FITS),
            "--layers '8,9x9999999': at most 1,000,000 ",
        ),
        (("--layers", "64,10", "--batch", 0, "--budget", FITS), "--batch must be an integer of at least 1, got 0"),
        ((*NETWORK, "--budget", FITS, "--dtype", "int8"), "--dtype must be float32 or float64, got 'int8'"),
        ((*NETWORK, "--budget", FITS, "--step", "fit"), "--step must be 'backward' or 'train_step', got 'fit'"),
        (
            (*NETWORK, "--budget", FITS, "--optimizer", "lion"),
            "--optimizer must be one of sgd, momentum, adam, got 'lion'",
        ),
        ((*NETWORK, "--budget", "24M"), "--budget must be written as 24MB (of 1000) or 24MiB (of 1024), got '24M'"),
        (
            (*NETWORK, "--budget-total", "1e999999999"),
            f"--budget-total must be at most {2**63 - 1} bytes, got '1e99999",
        ),
        (
            (*NETWORK, "--budget", "1GiB", "--samples", 10**20),
            f"--samples must be an integer of at most {2**63 - 1}, got",
        ),
        (
            ("--layers", f"{10**20},10", "--batch", 5, "--budget", FITS),
            f"--layers[0] must be an integer of at most {2**63 - 1}, got {10**20}",
        ),
        (
            ("--layers", "64,128x5000,10", "--batch", 5, "--budget", "1GiB"),
            "optimal serves up to 4,096 layers, got 5,001; revolve, periodic and sqrt serve any",
        ),
        (
            (*NETWORK, "--budget", "0.1MiB"),
            "no schedule meets a budget of 0.10 MiB (104,857 bytes): the smallest that can be met is 1.56 MiB (1,632,",
        ),
        ((*NETWORK, "--budget", FITS, "--samples", 5), "--samples must be at least the batch of 512 rows, got 5"),
        (
            ("--layers", "64,32,16,10", "--batch", 5, "--budget", FITS, "--max-depth"),
            "--max-depth needs --budget and hidden layers of one width, such as --layers 64,512,10",
        ),
        (
            (*NETWORK, "--budget-total", FITS, "--max-depth"),
            "--max-depth needs --budget and hidden layers of one width",
        ),
        (
            (*NETWORK, "--budget", "100kB"),
            "no schedule meets a budget of 100.00 kB (100,000 bytes): the smallest that can be met is ",
        ),
        (
            (*NETWORK, "--budget-total", "1.5MB"),
            "--budget-total 1.5MB leaves 0.41 MB (401,720 bytes) for a step: no schedule meets a budget",
        ),
        (
            (*NETWORK, "--budget-total", "1MB"),
            "--budget-total 1MB leaves nothing for a step: parameters take 0.97 MB (963,112 bytes), the opt",
        ),
        (
            ("--layers", "64,1024x2,10", "--batch", 4, "--budget-total", "9.13MB"),
            "--budget-total 9.13MB leaves 4.63 MB (4,623,304 bytes), but after a step sgd takes 5.0",
        ),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments, line):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(line)
    assert len(result.stderr.splitlines()) == 1


def test_on_a_terminal_a_search_tells_what_it_tries(monkeypatch):
    told = []
    monkeypatch.setattr(planning.Console, "is_terminal", True)
    monkeypatch.setattr(planning.Status, "update", lambda status, text: told.append(str(text)))
    result = invoke("--layers", "8,16,4", "--batch", 64, "--budget", 48_128, "--max-depth", "--json")
    depths = json.loads(result.stdout)["max_depths"]
    assert told[0] == "searching the depths that fit: store_all, 1 hidden layers"
    for name in depths:
        assert any(line.startswith(f"searching the depths that fit: {name}, ") for line in told)
