"""A run never mixes what other machines or other code have measured, unless it is asked to."""

import json
import shutil

import pytest

from harness import provenance
from harness.errors import RunAbortedError
from harness.experiment.measures import MEASURES
from harness.experiment.model_cell import CODE
from harness.experiment.schedule_code import imported
from harness.results.schemas import parse_table
from tests.support.runs import again, table


@pytest.mark.parametrize("change", ["machine", "code", "machine id"])
def test_another_machine_or_another_code_makes_a_complete_new_set(start, workers, monkeypatch, change):
    code = provenance.code_sha256()
    run = start()
    list(run.execute())
    run.publish()
    workers.jobs.clear()
    if change == "machine":
        workers.machine = {"cpu": "another"}
    elif change == "code":
        monkeypatch.setattr(provenance, "code_sha256", lambda: "another")
    else:
        workers.machine_id = "another"
    run = start()
    ((reason, cells),) = again(run).items()
    assert cells == run.cells
    assert reason.startswith(
        {
            "machine": "machine.cpu: one -> another",
            "code": f"the measured code has changed (was {code[:8]}, is another)",
            "machine id": "another machine",
        }[change]
    )
    assert not any(one.resumed for one in run.execute())
    assert len(workers.jobs) == 6
    environment = json.loads(run.publish()[-1].read_text())
    assert environment["machine"] == workers.machine
    assert environment["code"]["sha256"] == provenance.code_sha256()


def test_a_machine_that_joins_later_is_refused_unless_it_may_mix(start, workers):
    for mixed in (False, True):
        workers.machine = {"cpu": "one"}
        steps = start(mixed=mixed).execute()
        next(steps)
        workers.machine = {"cpu": "another"}
        if mixed:
            assert len(list(steps)) == 5
        else:
            with pytest.raises(RunAbortedError, match=r"differs from the first \(machine.cpu: one -> another\)"):
                next(steps)


def test_rows_of_different_machines_mix_only_if_asked_and_a_column_tells_them_apart(start, workers):
    steps = start().execute()
    for _ in range(3):
        next(steps)
    steps.close()
    workers.machine = {"cpu": "another"}
    run = start(mixed=True)
    assert not run.again
    assert [one.resumed for one in run.execute()] == [True] * 3 + [False] * 3
    paths = run.publish()
    origins = json.loads(paths[-1].read_text())["provenance"]
    machines = [origins[row["provenance"]]["machine"]["cpu"] for row in table(paths, "memory.csv")]
    assert machines == ["one"] * 3 + ["another"]
    assert len(parse_table("memory", paths[0].read_bytes(), where="mixed")) == 4
    resource = json.loads(paths[-2].read_text())["resources"][0]
    assert resource["schema"]["fields"][-1]["name"] == "provenance"
    run = start()
    assert again(run) == {"machine.cpu: one -> another": 3}
    list(run.execute())
    paths = run.publish()
    assert "provenance" not in table(paths, "memory.csv")[0] | json.loads(paths[-1].read_text())


@pytest.mark.parametrize(
    ("file", "determines"),
    [
        ("networks/schedules/spec.py", True),
        ("networks/schedules/revolve.py", False),
        ("networks/schedules/registry.py", False),
        ("harness/worker/__main__.py", True),
        ("harness/worker/steps/torch.py", True),
        ("harness/experiment/cell.py", True),
        ("harness/results/rows.py", True),
        ("networks/__init__.py", False),
        ("networks/planning/planner.py", False),
        ("harness/results/store.py", False),
        ("harness/plots/memory.py", False),
    ],
)
def test_measured_again_is_what_an_edit_of_the_code_can_change(tmp_path, monkeypatch, file, determines):
    for room in ("harness", "networks"):
        shutil.copytree(provenance.ROOT / room, tmp_path / room)
    before = provenance.code_sha256()
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.code_sha256() == before
    with (tmp_path / file).open("a") as edited:
        edited.write("# an edit")
    assert (provenance.code_sha256() != before) == determines


def test_the_code_that_measures_models_is_in_the_origin_of_their_rows():
    own = imported(CODE, {room: provenance.ROOT / room for room in ("harness", "networks")})
    run = [measure.worker.partition(":")[0] for measure in MEASURES.values() if measure.of_models]
    assert run
    assert {f"harness.worker.{module}" for module in run} <= own.keys()


SCHEDULES = """
title = "t"
measure = ["memory"]
[grid]
layers = ["8,4x3,3"]
batch = [5]
checkpoint_frequency = [2]
schedule = ["revolve(slots=2)", "sqrt()", "greedy(budget_of='revolve(slots=2)*1.5')", "optimal(budget_of='sqrt()')"]
"""
GREEDY, OPTIMAL = "greedy(budget_of='revolve(slots=2)*1.5')", "optimal(budget_of='sqrt()')"
BY_FREQUENCY = None


@pytest.mark.parametrize(
    ("file", "measured_again"),
    [
        ("periodic", {BY_FREQUENCY, "sqrt()", OPTIMAL}),
        ("sqrt", {"sqrt()", OPTIMAL}),
        ("revolve", {"revolve(slots=2)", GREEDY, OPTIMAL}),
        ("greedy", {GREEDY, OPTIMAL}),
        ("budget", {GREEDY, OPTIMAL}),
        ("_persistent", {OPTIMAL}),
        ("checkpoint_schedules", set()),
    ],
)
def test_an_edited_schedule_measures_the_cells_that_run_it_again_and_no_others(
    start, workers, tmp_path, monkeypatch, file, measured_again
):
    for room in ("harness", "networks"):
        shutil.copytree(provenance.ROOT / room, tmp_path / room)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    list(start(SCHEDULES).execute())
    workers.jobs.clear()
    with (tmp_path / f"networks/schedules/{file}.py").open("a") as edited:
        edited.write("# an edit")
    run = start(SCHEDULES)
    list(run.execute())
    assert {cell.schedule for job in workers.jobs for cell in job.cells} == measured_again
    assert all(" has changed (was " in reason for reason in run.again)


def test_a_run_stops_where_the_measured_code_is_edited_under_it(start, monkeypatch):
    steps = start().execute()
    next(steps)
    monkeypatch.setattr(provenance, "code_sha256", lambda: "edited")
    with pytest.raises(RunAbortedError, match="the measured code has changed"):
        next(steps)
    monkeypatch.undo()
    assert [one.resumed for one in start().execute()] == [True] + [False] * 5
