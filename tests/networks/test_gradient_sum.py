"""What parts of a batch add up, against plain sums."""

import numpy as np

from networks.gradients import GradientSum
from networks.optimizers import Pair


def add(sums: Pair, deltas: Pair) -> None:
    for array, delta in zip(sums, deltas, strict=True):
        array += delta


def pair(value: float) -> Pair:
    return np.full((2, 3), value), np.full(3, value)


def test_sums_of_three_parts_are_those_of_each_layer():
    sums = GradientSum(3, add)
    held = [[sums.add(pair(10**part * layer)) for layer in (3, 2, 1)] for part in range(3)]
    assert held == [[False] * 3, [True] * 3, [True] * 3]
    taken = sums.take_all()
    assert [(weights[1, 2], biases[0]) for weights, biases in taken] == [(111, 111), (222, 222), (333, 333)]
    assert sums.take_all() == []


def test_the_last_part_may_take_each_sum_at_once():
    sums = GradientSum(2, add)
    for layer in (2, 1):
        sums.add(pair(layer))
    taken = []
    for layer in (2, 1):
        sums.add(pair(10 * layer))
        taken.append(sums.take()[1][0])
    assert taken == [22, 11]
    assert sums.take_all() == []
