"""What a schedule is asked, and what it sees."""

from collections.abc import Callable, Collection, Mapping

from networks import NetworkWithCheckpointing, dry_run
from networks.chain import Chain
from networks.schedules import Keep, Schedule, evicting, periodic
from networks.tracker import Event
from tests.support.strategies import random_data

WIDTH, BATCH, DEPTH = 8, 4, 9
STEP = 2 * BATCH * WIDTH * WIDTH  # forward operations of a layer

Question = tuple[dict[int, int], int, int]


def recorded(schedule: Schedule, questions: list[Question]) -> Schedule:
    """The same schedule, which writes down what it is asked."""

    def recording(chain: Chain) -> Keep:
        keep = schedule(chain)

        def record(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
            questions.append((dict(cached), start, stop))
            return keep(cached, start, stop)

        return record

    return recording


def questions_of_a_step(schedule: Schedule, between: Callable[[NetworkWithCheckpointing], None]) -> list[Question]:
    questions: list[Question] = []
    network = NetworkWithCheckpointing([WIDTH] * (DEPTH + 1), schedule=recorded(schedule, questions))
    x, y = random_data(network.layers, BATCH)
    network.forward(x)
    between(network)
    network.backward(y)
    return questions


def test_a_schedule_is_asked_once_a_stretch_and_never_on_a_hit():
    """It sees the operations executed since each position was last used: computed, asked for or started from."""
    assert questions_of_a_step(periodic(3), between=lambda network: None) == [
        ({0: 0}, 0, 9),
        # after[8] is left from the forward pass, and served
        ({0: 9 * STEP, 3: 6 * STEP, 6: 3 * STEP}, 6, 7),
        # a hit for 6
        ({0: 10 * STEP, 3: 7 * STEP}, 3, 5),
        # hits for 4, kept of this stretch, and 3
        ({0: 12 * STEP}, 0, 2),
        # hits for 1 and 0
    ]


def test_starting_a_stretch_is_a_use():
    assert questions_of_a_step(periodic(4, recompute="each"), between=lambda network: None) == [
        ({0: 0}, 0, 9),
        # a hit for 8
        ({0: 9 * STEP, 4: 5 * STEP}, 4, 7),
        ({0: 12 * STEP, 4: 3 * STEP}, 4, 6),
        ({0: 14 * STEP, 4: 2 * STEP}, 4, 5),
        # a hit for 4
        ({0: 15 * STEP}, 0, 3),
        ({0: 3 * STEP}, 0, 2),
        ({0: 2 * STEP}, 0, 1),
        # a hit for 0
    ]


def test_questions_between_the_passes_are_not_the_schedules_business():
    """They run layers, and nothing of that is seen, not even that an after was used."""

    def ask(network: NetworkWithCheckpointing) -> None:
        network.get_cached_after_or_calculate(3)  # a hit
        network.get_cached_after_or_calculate(5)  # two layers, from 3

    assert questions_of_a_step(periodic(3), between=ask)[:2] == [
        ({0: 0}, 0, 9),
        ({0: 9 * STEP, 3: 6 * STEP, 6: 3 * STEP}, 6, 7),
    ]


def test_a_schedule_learns_the_sizes_of_the_chain_it_is_bound_to():
    chains = []

    def learning(chain: Chain) -> Keep:
        chains.append(chain)
        return lambda cached, start, stop: range(stop)

    network = NetworkWithCheckpointing([8, 5, 3], schedule=learning, dtype="float64")
    for batch in (2, 7):
        network.forward(random_data(network.layers, batch, "float64")[0])
    assert chains == [Chain((8, 5, 3), 2, 8), Chain((8, 5, 3), 7, 8)]
    assert chains[1].after_bytes == (0, 7 * 5 * 8, 7 * 3 * 8)
    assert chains[1].parameter_delta_bytes == (0, 9 * 5 * 8, 6 * 3 * 8)
    assert chains[1].forward_flops == (0, 2 * 7 * 8 * 5, 2 * 7 * 5 * 3)


def test_each_after_is_kept_once_and_none_is_recomputed_twice_with_segments():
    network = NetworkWithCheckpointing([WIDTH] * (DEPTH + 1), checkpoint_frequency=4)
    x, y = random_data(network.layers, BATCH)
    network.forward(x)
    assert network.tracker.cached_layers == (4, 8)
    in_forward = len(network.tracker.timeline)
    network.backward(y)
    computed = [event.layer for event in network.tracker.timeline[in_forward:] if event.action == "forward"]
    assert computed == [5, 6, 7, 1, 2, 3]


def test_what_is_asked_for_between_the_passes_changes_no_answer_of_an_evicting_schedule():
    layers, batch = [8, *[16, 4, 24] * 5, 4], 32
    budget_bytes = dry_run(layers, batch=batch).peak_bytes * 2 // 3
    network = NetworkWithCheckpointing(layers, schedule=evicting(budget_bytes=budget_bytes))
    x, y = random_data(layers, batch)

    def backward_events(asked: range) -> list[Event]:
        network.forward(x)
        for layer in asked:
            network.get_cached_after_or_calculate(layer)
        network.backward(y)
        return [event for event in network.tracker.timeline if event.phase == "backward"]

    undisturbed = backward_events(range(0))
    assert any(event.action == "miss" for event in undisturbed)
    assert backward_events(range(16)) == undisturbed == backward_events(range(15, 0, -2))
