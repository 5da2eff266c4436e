"""Other frameworks beside ours: the same gradients from the same weights, and products counted as they are run."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from harness.execute.process import run_in_subprocess
from harness.experiment.frameworks import PEERS
from harness.experiment.job import Job
from harness.experiment.measures import ALLOCATORS
from harness.results.rows import rows_of
from harness.results.schemas import parse_table
from harness.results.store import _csv as csv_of
from harness.worker import probes
from harness.worker.memory import measure_peers_memory
from harness.worker.steps.base import Product, gradient_error, operands
from harness.worker.steps.build import build_peer, checked_peer
from harness.worker.steps.networks import Step
from harness.worker.steps.sklearn import SklearnPeer
from tests.support.cells import store_all_cell

CELL = store_all_cell("6,8x9,4", batch=16)
DEPTH = 10


def peer_cell(peer, **changes):
    return replace(CELL, network=None, peer=peer, checkpoint_frequency=4 if PEERS[peer] else None, **changes)


def built(cell):
    if cell.framework != "sklearn":
        pytest.importorskip(cell.framework)
    return build_peer(cell), Step(cell.store_all)


EAGER = [peer for peer in PEERS if "compile" not in peer]


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("peer", EAGER)
def test_a_peer_computes_our_gradients_from_our_weights_as_often_as_it_is_asked(peer, activation):
    step, reference = built(peer_cell(peer, activation=activation))
    expected = reference.gradients()
    assert gradient_error(step.gradients(), expected) < 1e-5
    assert gradient_error(step.gradients(), expected) < 1e-5


@pytest.mark.parametrize("peer", EAGER)
def test_a_peer_computes_in_the_cells_precision(peer):
    step, reference = built(peer_cell(peer, dtype="float64"))
    assert gradient_error(step.gradients(), reference.gradients()) < 1e-12


EXTRA_FORWARDS = {
    "torch.checkpoint": DEPTH - 1,  # every segment, up to the last value it needs
    "torch.checkpoint_sequential": 6,  # three segments of 3, 3 and 4 layers; the last is not recomputed
    "jax.scan_checkpoint": 8,  # the equal layers, two segments of four, and none is left over
}


@pytest.mark.parametrize("peer", EAGER)
def test_products_are_counted_with_what_is_recomputed(peer):
    step, _ = built(peer_cell(peer))
    backward = 2 * DEPTH - 1
    assert len(step.products()) == DEPTH + EXTRA_FORWARDS.get(peer, 0) + backward


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of the compiler's own modules
def test_a_compiled_step_runs_compiled_however_often_it_is_counted():
    step, _ = built(peer_cell("torch.compile_budget"))
    counted = [len(step.products()) for _ in range(2)]  # of one that falls back to eager, none is seen
    assert counted[0] == counted[1] > DEPTH + 2 * DEPTH - 1


def test_our_own_products_are_counted_from_the_trackers_timeline():
    step = Step(replace(CELL, network="NetworkWithCheckpointing", checkpoint_frequency=3, recompute="segment"))
    step()
    assert len(step.products()) == step.network.tracker.forward_steps + 2 * DEPTH - 1


@pytest.mark.parametrize("peer", ["torch.store-all", "jax.store-all", "sklearn.backprop"])
def test_every_framework_multiplies_the_products_of_a_whole_step(peer):
    step, reference = built(peer_cell(peer))
    reference()
    sizes, expected = (sorted(sorted(product[:3]) for product in peer.products()) for peer in (step, reference))
    assert sizes == expected
    for product in set(step.products()):
        step.multiplication(product)()


@pytest.mark.parametrize("flags", [(False, False), (True, False), (False, True)])
def test_operands_have_the_orders_of_their_product(flags):
    left, right = operands(Product(3, 4, 5, *flags), "float32")
    assert (left.shape, right.shape) == ((3, 4), (4, 5))
    assert (left.flags.f_contiguous, right.flags.f_contiguous) == flags


@pytest.mark.parametrize("wrong", [1.001, np.nan])
def test_a_peer_that_computes_something_else_is_refused(wrong, monkeypatch):
    right = SklearnPeer.gradients
    monkeypatch.setattr(
        SklearnPeer, "gradients", lambda peer: [(weights * wrong, biases) for weights, biases in right(peer)]
    )
    with pytest.raises(RuntimeError, match="gradients differ from the network's by"):
        checked_peer(peer_cell("sklearn.backprop"))


def test_zero_gradients_of_both_are_no_distance_apart():
    zeros, ones = np.zeros((2, 2)), np.ones((2, 2))
    assert gradient_error([(zeros, ones)], [(zeros, ones)]) == 0
    assert gradient_error([(ones, ones)], [(zeros, ones)]) == np.inf
    assert np.isnan(gradient_error([(ones, ones * np.nan)], [(ones, ones)]))


@pytest.mark.parametrize("value", [1e-30, 1e30])
def test_a_distance_is_told_of_gradients_whose_squares_are_beyond_single_precision(value):
    array, ones = np.full((2, 2), value, "float32"), np.ones(2)
    assert gradient_error([(3 * array, ones)], [(array, ones)]) == pytest.approx(2)


@pytest.mark.parametrize("peer", EAGER)
def test_a_peer_whose_gradients_are_zero_as_ours_agrees(peer):
    step, reference = built(peer_cell(peer, layers="8,1x3,3", batch=1))
    expected = reference.gradients()
    assert not expected[0][0].any()
    assert gradient_error(step.gradients(), expected) < 1e-6


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
    (row,) = measured(Job(measure="peers_memory", cells=(replace(cell, network=None, peer=peer) if peer else cell,)))
    assert row["gradient_error_double"] < 1e-12
    assert row["gradient_error"] < 1e-6


SIZEABLE = store_all_cell("64,128x20,10", batch=512)


def test_scikit_learn_keeps_two_values_a_layer():
    cell = replace(SIZEABLE, network=None, peer="sklearn.backprop")
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
    rows = measured(
        Job(measure="peers_time", cells=(replace(CELL, network=None, peer="sklearn.backprop"),), settings=settings)
    )
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
