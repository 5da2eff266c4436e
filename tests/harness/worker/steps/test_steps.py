"""Other frameworks beside ours: the same gradients from the same weights, and products counted as they are run."""

from dataclasses import replace

import numpy as np
import pytest

from harness.experiment.frameworks import PEERS
from harness.worker.steps.base import Product, gradient_error, operands
from harness.worker.steps.build import build_peer, checked_peer
from harness.worker.steps.networks import NetworkStep
from harness.worker.steps.sklearn import SklearnPeer
from tests.support.cells import store_all_cell

CELL = store_all_cell("6,8x9,4", batch=16)
DEPTH = 10


def peer_cell(peer, **changes):
    return replace(CELL, network=None, peer=peer, checkpoint_frequency=4 if PEERS[peer] else None, **changes)


def built(cell):
    if cell.framework != "sklearn":
        pytest.importorskip(cell.framework)
    return build_peer(cell), NetworkStep(cell.store_all)


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
    step = NetworkStep(replace(CELL, network="NetworkWithCheckpointing", checkpoint_frequency=3, recompute="segment"))
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
