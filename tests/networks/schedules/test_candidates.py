"""Choosing among schedules that know no budget: the same as from what each of them costs in full."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from networks.chain import Chain
from networks.schedules import Schedule, periodic, revolve
from networks.schedules.candidates import Candidates
from networks.schedules.replay import Cost, replay
from tests.support.strategies import layer_lists, whimsical

OF_MANY_KINDS = [
    *(revolve(slots=slots) for slots in (1, 2, 3, 5, 16)),
    *(periodic(n, recompute=recompute) for recompute in ("segment", "each") for n in (1, 2, 3, 4, 8)),
    *map(whimsical, range(6)),
]


def of_least_work(costs: Mapping[Schedule, Cost], room: int) -> Schedule:
    fitting = [schedule for schedule in costs if costs[schedule].peak_bytes <= room]
    if fitting:
        return min(fitting, key=lambda schedule: (costs[schedule].forward_flops, costs[schedule].peak_bytes))
    return min(costs, key=lambda schedule: (costs[schedule].peak_bytes, costs[schedule].forward_flops))


@given(layer_lists(), st.sampled_from([1, 300]), st.booleans(), st.data())
def test_the_cheapest_is_that_of_all_costs_whatever_was_asked_before(
    layers: tuple[int, ...], batch: int, piling_up: bool, data: st.DataObject
):
    chain = Chain(layers, batch, 4, deltas_pile_up=piling_up)
    bound = {schedule: schedule(chain) for schedule in data.draw(st.permutations(OF_MANY_KINDS))}
    costs = {schedule: replay(chain, keep) for schedule, keep in bound.items()}
    peaks = sorted({cost.peak_bytes for cost in costs.values()})
    candidates = Candidates(chain, bound)
    for room in data.draw(st.lists(st.sampled_from([0, peaks[0] - 1, *peaks]), min_size=1, max_size=6)):
        assert candidates.cheapest(room) is of_least_work(costs, room)


@given(layer_lists(), st.integers(0, 2**32).map(whimsical), st.data())
def test_a_replay_that_passes_a_bound_says_so_and_one_within_it_is_the_same(
    layers: tuple[int, ...], schedule: Schedule, data: st.DataObject
):
    chain = Chain(layers, 40, 4)
    keep = schedule(chain)
    cost = replay(chain, keep)
    most_bytes, most_flops = (
        data.draw(st.integers(most // 2, most + most // 2)) for most in (cost.peak_bytes, cost.forward_flops)
    )
    bounded = replay(chain, keep, most_bytes=most_bytes, most_flops=most_flops)
    within = cost.peak_bytes <= most_bytes and cost.forward_flops <= most_flops
    assert within == (bounded.peak_bytes <= most_bytes and bounded.forward_flops <= most_flops)
    assert all(so_far <= whole for so_far, whole in zip(bounded, cost, strict=True))
    assert bounded == cost or not within
