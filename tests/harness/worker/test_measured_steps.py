"""Rows of steps measured in workers: ours and other frameworks', by each of their measures."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from harness.execute.process import run_in_subprocess
from harness.experiment.job import Job
from harness.experiment.measures import ALLOCATORS
from harness.results.rows import rows_of
from harness.results.schemas import parse_table
from harness.results.store import _csv as csv_of
from harness.worker import probes
from harness.worker.memory import measure_peers_memory
from harness.worker.steps.sklearn import SklearnPeer
from tests.support.cells import store_all_cell

CELL = store_all_cell("6,8x9,4", batch=16)


def peer_cell(peer, cell=CELL):
    return replace(cell, network=None, peer=peer)


def test_a_measured_step_whose_gradients_are_no_numbers_is_refused(monkeypatch):
    monkeypatch.setattr(probes, "require_one_thread", lambda: None)  # of a worker
    right = SklearnPeer.gradients
    wrong = [1, np.nan]  # in double precision, then in the cell's
    monkeypatch.setattr(
        SklearnPeer, "gradients", lambda peer: [(w * factor, b) for factor in [wrong.pop(0)] for w, b in right(peer)]
    )
    with pytest.raises(RuntimeError, match="gradients differ from the network's by nan of their norm, in float32"):
        measure_peers_memory(Job(measure="peers_memory", cells=(peer_cell("sklearn.backprop"),)))


def measured(job):
    """The rows of a job's table, once they have been written and validated as the store does it."""
    outcome = run_in_subprocess(job)
    assert outcome.error == "", outcome.log
    rows = rows_of(job, outcome)
    parse_table(job.measure, csv_of(job.measure, rows), where="rows as measured")
    return rows


@pytest.mark.parametrize("peer", [None, "sklearn.backprop"])
def test_a_row_of_zero_gradients_is_as_good_as_any(peer):
    cell = store_all_cell("8,1x3,3", batch=1)
    (row,) = measured(Job(measure="peers_memory", cells=(peer_cell(peer, cell) if peer else cell,)))
    assert row["gradient_error_double"] < 1e-12
    assert row["gradient_error"] < 1e-6


SIZEABLE = store_all_cell("64,128x20,10", batch=512)


def test_scikit_learn_keeps_two_values_a_layer():
    cell = peer_cell("sklearn.backprop", SIZEABLE)
    (row,) = measured(Job(measure="peers_memory", cells=(cell,)))
    assert (row["framework"], row["variant"], row["network"]) == ("sklearn", "backprop", None)
    assert row["activation_blocks_at_peak"] == 2 * 20
    assert row["memray_peak_bytes"] > 2 * 20 * cell.hidden_bytes
    assert "predicted_peak_bytes" not in row


def test_our_own_row_has_the_prediction_too():
    (row,) = measured(Job(measure="peers_memory", cells=(SIZEABLE,)))
    assert (row["framework"], row["variant"], row["gradient_error"]) == ("networks", "store-all", 0)
    assert abs(row["residual_bytes"]) < 32 * 1024
    assert row["activation_blocks_at_peak"] == 20


@pytest.mark.parametrize("micro_batch", [None, 128])
def test_a_train_steps_row_has_gradients_though_it_keeps_none(micro_batch):
    cell = replace(SIZEABLE, step="train_step", micro_batch=micro_batch)
    (row,) = measured(Job(measure="peers_memory", cells=(cell,)))
    assert row["gradient_error_double"] < 1e-12
    assert row["gradient_error"] == 0 if micro_batch is None else 0 < row["gradient_error"] < 1e-4
    assert abs(row["residual_bytes"]) < 32 * 1024


def test_times_come_with_the_bare_products_and_the_processors_seconds():
    settings = {"repeats": 15, "order_seed": 0, "seconds": 1e-9}
    rows = measured(Job(measure="peers_time", cells=(peer_cell("sklearn.backprop"),), settings=settings))
    assert [row["repeat"] for row in rows] == list(range(5))
    assert {row["repeats"] for row in rows} == {5}
    assert all(row["floor_seconds"] > 0 and row["step_seconds"] > 0 for row in rows)


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_our_own_step_is_resident_as_it_is_requested(allocator):
    settings = {"allocator": allocator, "repeats": 3}
    rows = measured(Job(measure="resident", cells=(SIZEABLE,), settings=settings))
    (requested,) = measured(Job(measure="peers_memory", cells=(SIZEABLE,)))
    assert [row["repeat"] for row in rows] == [0, 1, 2]
    assert {row["allocator"] for row in rows} == {allocator}
    for row in rows:
        assert abs(row["resident_peak_bytes"] - requested["memray_peak_bytes"]) < 2 * 2**20


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
def test_a_peer_that_is_not_installed_is_a_row_that_says_so():
    job = Job(measure="peers_memory", cells=(peer_cell("torch.store-all"),))
    (row,) = rows_of(job, run_in_subprocess(job))
    assert (row["status"], row["framework"]) == ("failed", "torch")
    assert row["error"] == "ModuleNotFoundError: No module named 'torch'"
