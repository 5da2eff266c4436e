"""Schedules of the checkpoint_schedules library, run unmodified."""

import re
import sys
from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import pytest

from networks import Network, NetworkWithCheckpointing, dry_run
from networks.schedules import from_checkpoint_schedules, revolve, revolve_forward_steps, store_all
from networks.schedules.checkpoint_schedules import IN_MEMORY
from networks.schedules.spec import parse_schedule
from tests.support.strategies import random_data

library = pytest.importorskip("checkpoint_schedules")
RAM, DISK, WORK = library.StorageType.RAM, library.StorageType.DISK, library.StorageType.WORK

pytestmark = pytest.mark.filterwarnings("ignore:Numba not available:RuntimeWarning")

LAYERS = (5, 8, 8, 30, 4, 8, 8, 8, 16, 2, 9, 9, 3)
DEPTH = len(LAYERS) - 1

Make = Callable[[int], library.CheckpointSchedule]


class EveryThird(library.CheckpointSchedule):
    """A user's own, online: every third step's restart data; the segment above is stored whole when it is reversed."""

    def _iterator(self) -> Iterator[library.CheckpointAction]:
        for n in count(step=3):
            if self.max_n is not None:
                break
            self._n = n + 3
            yield library.Forward(n, n + 3, True, False, RAM)
        yield library.EndForward()
        for n0 in reversed(range(0, self.max_n, 3)):
            n1 = min(n0 + 3, self.max_n)
            yield library.Move(n0, RAM, WORK)
            yield library.Forward(n0, n1, False, True, WORK)
            yield library.Reverse(n1, n0, True)
        yield library.EndReverse()

    @property
    def is_exhausted(self) -> bool:
        return False

    def uses_storage_type(self, storage_type: library.StorageType) -> bool:
        return storage_type is not DISK


BINOMIAL: list[Callable[[int, int], library.CheckpointSchedule]] = [
    library.Revolve,
    lambda depth, slots: library.MultistageCheckpointSchedule(depth, slots, 0),
    lambda depth, slots: library.MultistageCheckpointSchedule(depth, slots, 0, trajectory="revolve"),
    lambda depth, slots: library.HRevolve(depth, slots, 0),
]

STREAMS: dict[str, Make] = {
    "SingleMemory": lambda depth: library.SingleMemoryStorageSchedule(),
    "Revolve": lambda depth: library.Revolve(depth, 3),
    "Multistage": lambda depth: library.MultistageCheckpointSchedule(depth, 2, 0),
    "Mixed": lambda depth: library.MixedCheckpointSchedule(depth, 3, storage=RAM),
    "HRevolve": lambda depth: library.HRevolve(depth, 4, 0),
    "EveryThird": lambda depth: EveryThird(),
}


def actions(stream: library.CheckpointSchedule, depth: int) -> list[library.CheckpointAction]:
    """All actions of one adjoint calculation."""
    done = []
    while not done or not isinstance(done[-1], library.EndReverse):
        done.append(next(stream))
        if stream.max_n is None and done[-1].n1 >= depth:
            stream.finalize(depth)
    return done


@pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)
def test_gradients_equal_store_alls_to_the_bit(make: Make):
    x, y = random_data(LAYERS, 300)
    expected = Network(LAYERS, seed=3)
    network = NetworkWithCheckpointing(LAYERS, schedule=from_checkpoint_schedules(make(DEPTH)), seed=3)
    for _ in range(2):
        assert np.array_equal(network.forward(x), expected.forward(x))
        for deltas, expected_deltas in zip(network.backward(y), expected.backward(y), strict=True):
            for delta, expected_delta in zip(deltas, expected_deltas, strict=True):
                assert np.array_equal(delta, expected_delta)


@pytest.mark.parametrize("make", [make for name, make in STREAMS.items() if name != "EveryThird"])
@pytest.mark.parametrize("depth", [2, 3, 6, 12, 30])
def test_forward_steps_are_the_streams_without_those_that_only_save_data(make: Make, depth: int):
    """A stream runs the last forward step before each adjoint step once more to save that step's data, here not needed.

    The exception is the first, which the forward pass contains.
    """
    forwards = [action for action in actions(make(depth), depth) if isinstance(action, library.Forward)]
    saving = sum(action.write_adj_deps and action.storage == WORK for action in forwards)
    step = dry_run([8] * (depth + 1), batch=64, schedule=from_checkpoint_schedules(make(depth)))
    assert step.forward_steps == sum(min(action.n1, depth) - action.n0 for action in forwards) - saving + 1


@pytest.mark.parametrize("make", BINOMIAL)
@pytest.mark.parametrize(("depth", "slots"), [(2, 1), (6, 2), (10, 3), (20, 3), (30, 1), (30, 7), (30, 40)])
def test_binomial_streams_cost_what_revolve_costs(make: Callable, depth: int, slots: int):
    layers = [8] * (depth + 1)
    step = dry_run(layers, batch=64, schedule=from_checkpoint_schedules(make(depth, slots)))
    assert step.forward_steps == revolve_forward_steps(depth, slots)
    assert step.peak_bytes == dry_run(layers, batch=64, schedule=revolve(slots=slots)).peak_bytes


def test_ten_steps_and_three_slots_by_both_conventions():
    """The published example of the trap: 25 forward steps there, P(10, 3) + 1 = 16 here."""
    stream = actions(library.Revolve(10, 3), 10)
    assert sum(len(action) for action in stream if isinstance(action, library.Forward)) == 25
    step = dry_run([8] * 11, batch=64, schedule=from_checkpoint_schedules(library.Revolve(10, 3)))
    assert step.forward_steps == 16


def test_all_in_memory_is_store_all():
    step = dry_run(LAYERS, batch=300, schedule=from_checkpoint_schedules(library.SingleMemoryStorageSchedule()))
    assert step == dry_run(LAYERS, batch=300, schedule=store_all())


def test_a_users_own_online_schedule_holds_what_it_says():
    """Layers 1..7: restart data of steps 0, 3 and 6; then afters 4 and 5 from 3, and afters 1 and 2 from the input."""
    step = dry_run([8] * 8, batch=4, schedule=from_checkpoint_schedules(EveryThird()))
    letters = {"forward": "F", "keep": "K", "parameter_deltas": "B"}
    done = [f"{letters[event.action]}{event.layer}" for event in step.timeline if event.action in letters]
    assert " ".join(done) == ("F1 F2 F3 K3 F4 F5 F6 K6 F7 B7 F4 K4 F5 K5 B6 B5 B4 F1 K1 F2 K2 B3 B2 B1")


@pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)
def test_a_schedule_is_copied_and_bound_any_number_of_times(make: Make):
    stream = make(DEPTH)
    schedule = from_checkpoint_schedules(stream)
    first = dry_run(LAYERS, batch=300, schedule=schedule)
    if stream.max_n is None:
        assert dry_run(LAYERS[:6], batch=300, schedule=schedule).hits > 0
    assert dry_run(LAYERS, batch=300, schedule=schedule) == first
    untouched, fresh = (list(map(repr, actions(one, DEPTH))) for one in (stream, make(DEPTH)))
    assert untouched == fresh


class Broken(EveryThird):
    """Offline, of two steps, and yields what it is given."""

    def __init__(self, *given: library.CheckpointAction):
        super().__init__(max_n=2)
        self.given = given

    def _iterator(self) -> Iterator[library.CheckpointAction]:
        yield from self.given


FORWARD = library.Forward(0, 2, False, True, WORK)


@pytest.mark.parametrize(
    ("stream", "depth", "message"),
    [
        (library.Revolve(7, 2), 5, "(Revolve, max_n=7): has 7 steps, the network 5 layers: make one with max_n=5"),
        (library.MixedCheckpointSchedule(5, 2), 5, "(MixedCheckpointSchedule, max_n=5): uses a disk: Forward(0, "),
        (library.HRevolve(20, 1, 2), 20, "(HRevolve, max_n=20): uses a disk: Forward(0, "),
        (library.TwoLevelCheckpointSchedule(2, 1), 5, "(TwoLevelCheckpointSchedule): uses a disk: Forward(0, "),
        (library.NoneCheckpointSchedule(), 5, "(NoneCheckpointSchedule): does not reverse the steps below 5"),
        (Broken(FORWARD, library.Reverse(2, 1, False)), 2, "(Broken, max_n=2): does not reverse the steps below 1"),
        (Broken(FORWARD, library.Copy(1, RAM, WORK)), 2, "fetches what it has not stored: Copy(1, StorageType.RAM, "),
    ],
)
def test_a_stream_that_cannot_be_run_is_named(stream: library.CheckpointSchedule, depth: int, message: str):
    schedule = from_checkpoint_schedules(stream)
    with pytest.raises(ValueError, match=re.escape(message)):
        dry_run([8] * (depth + 1), batch=4, schedule=schedule)


def test_a_stream_must_be_fresh():
    stream = library.Revolve(5, 2)
    next(stream)
    with pytest.raises(ValueError, match="must not have been iterated before, make a fresh one"):
        from_checkpoint_schedules(stream)


@pytest.mark.parametrize("given", [5, None, library.Revolve, revolve(slots=3)])
def test_what_is_no_stream_is_refused(given: object):
    message = f"schedule must be a checkpoint_schedules.CheckpointSchedule, got {given!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        from_checkpoint_schedules(given)


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "checkpoint_schedules", None)
    with pytest.raises(ImportError, match="pip install checkpoint-schedules"):
        from_checkpoint_schedules(EveryThird())
    with pytest.raises(ValueError, match=r"^checkpoint_schedules is not installed: pip install checkpoint-schedules$"):
        parse_schedule("checkpoint_schedules('Revolve', snapshots=77)")


@pytest.mark.parametrize(
    ("text", "make"),
    [
        ("checkpoint_schedules('Revolve', snapshots=3)", lambda depth: library.Revolve(depth, 3)),
        ("checkpoint_schedules('HRevolve', snapshots=4)", lambda depth: library.HRevolve(depth, 4, 0)),
        (
            "checkpoint_schedules('MultistageCheckpointSchedule', snapshots=2, trajectory='revolve')",
            lambda depth: library.MultistageCheckpointSchedule(depth, 2, 0, trajectory="revolve"),
        ),
        (
            "checkpoint_schedules('MixedCheckpointSchedule', snapshots=3)",
            lambda depth: library.MixedCheckpointSchedule(depth, 3, storage=RAM),
        ),
        ("checkpoint_schedules('SingleMemoryStorageSchedule')", lambda depth: library.SingleMemoryStorageSchedule()),
    ],
)
def test_a_text_makes_what_the_library_makes_for_a_chain_of_any_length(text: str, make: Make):
    schedule = parse_schedule(text)
    assert schedule.__name__ == text
    for layers in (LAYERS, LAYERS[:6]):
        expected = dry_run(layers, batch=300, schedule=from_checkpoint_schedules(make(len(layers) - 1)))
        assert dry_run(layers, batch=300, schedule=schedule) == expected


def test_every_schedule_that_needs_no_disk_has_a_text():
    classes = {name: value for name, value in vars(library).items() if isinstance(value, type)}
    published = {name for name, value in classes.items() if issubclass(value, library.CheckpointSchedule)}
    others = {
        *("CheckpointSchedule", "RevolveCheckpointSchedule", "NoneCheckpointSchedule", "SingleDiskStorageSchedule"),
        *("DiskRevolve", "PeriodicDiskRevolve", "TwoLevelCheckpointSchedule"),
    }
    assert set(IN_MEMORY) == published - others


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("'DiskRevolve', snapshots=3", "checkpoint_schedules: name must be one of Revolve, HRevolve, "),
        (
            "'Revolve'",
            "('Revolve'): missing a required argument: 'snapshots_in_ram'; Revolve takes snapshots, uf",
        ),
        ("'Revolve', snapshots=0", "snapshots must be an integer of at least 1, got 0"),
        ("'Revolve', snapshots=3, sd=1", "unexpected keyword argument 'sd'; Revolve takes snapshots, uf, ub, wd, rd"),
        ("'SingleMemoryStorageSchedule', snapshots=3", "SingleMemoryStorageSchedule takes no snapshots"),
    ],
)
def test_a_mistake_in_a_text_is_one_line(arguments: str, message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_schedule(f"checkpoint_schedules({arguments})")


def test_a_chain_that_the_library_refuses_is_named():
    schedule = parse_schedule("checkpoint_schedules('HRevolve', snapshots=1, uf='x')")
    with pytest.raises(ValueError, match=r"uf='x'\) cannot be made for 12 layers: unsupported operand"):
        dry_run(LAYERS, batch=300, schedule=schedule)
