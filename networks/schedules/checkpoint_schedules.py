"""Runs schedules of the `checkpoint_schedules` library unmodified. They are streams of actions.

The library's step i, from 0, is layer i+1 here. What it stores to restart the forward pass from step n is after[n].
What it stores of the steps n0..n1-1 for their adjoint are the activations n0..n1-1.

Convention: the library counts a forward step that stores what its adjoint needs. If that is gone, it runs the step
again. Here a backward step needs only the activation before it. So a training step takes fewer forward steps than the
stream has: with binomial checkpoints P(L, s) + 1 instead of P(L, s) + L.

The library has the licence LGPL. It is imported if it is installed. No code of it stands here.
"""

import inspect
import warnings
from collections.abc import Collection, Mapping
from copy import deepcopy
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from networks.chain import Chain
from networks.checks import check_count
from networks.schedules.signature import Keep, Schedule
from networks.wording import one_of

if TYPE_CHECKING:
    from checkpoint_schedules import CheckpointSchedule


IN_MEMORY = (
    *("Revolve", "HRevolve", "MultistageCheckpointSchedule", "MixedCheckpointSchedule"),
    "SingleMemoryStorageSchedule",
)
"""The library's schedules that can keep everything in memory, by the names of their classes."""


def checkpoint_schedules(name: str, *, snapshots: int | None = None, **options: Any) -> Schedule:
    """Hold what the library's schedule of the class `name` holds. It is made for the length of the chain.

    `snapshots` is how many it may store in memory. Each class has its own name for that. None are stored on disk.
    `options` are the other options of the class, such as `trajectory="revolve"`.

    Raises ValueError if the library is not installed, if it has no such schedule for memory, and for options that the
    class does not take. When the schedule is bound, it is raised for a chain that the class refuses.
    """
    try:
        library = _library()
    except ImportError as error:
        raise ValueError(str(error)) from None
    if not isinstance(name, str) or name not in IN_MEMORY:
        raise ValueError(f"checkpoint_schedules: name must be {one_of(name, IN_MEMORY)}; others need a disk")
    make = getattr(library, name)
    takes = inspect.signature(make).parameters
    fixed: dict[str, Any] = {"snapshots_on_disk": 0, "storage": library.StorageType.RAM}
    told = dict(options)
    if snapshots is not None:
        fixed["snapshots"] = fixed["snapshots_in_ram"] = told["snapshots"] = check_count("snapshots", snapshots)
    given = {option: value for option, value in fixed.items() if option in takes} | options
    text = ", ".join([repr(name), *(f"{option}={told[option]!r}" for option in sorted(told, key="snapshots".__ne__))])
    text = f"checkpoint_schedules({text})"
    try:
        inspect.signature(make).bind(**given, **({"max_n": 1} if "max_n" in takes else {}))
    except TypeError as error:
        raise ValueError(f"{text}: {error}; {name} takes {', '.join(_asked(takes)) or 'no options'}") from None
    if snapshots is not None and not {"snapshots", "snapshots_in_ram"} & takes.keys():
        raise ValueError(f"{text}: {name} takes no snapshots")

    @lru_cache(maxsize=4)
    def schedule(chain: Chain) -> Keep:
        length = {"max_n": chain.depth} if "max_n" in takes else {}
        with warnings.catch_warnings(action="ignore"):  # some tell that Numba is not installed
            try:
                stream = make(**length, **given)
            except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
                said = str(error) or type(error).__name__
                raise ValueError(f"{text} cannot be made for {chain.depth} layers: {said}") from None
            return _keeping(library, stream, chain, text)

    schedule.__name__ = text
    return schedule


def _asked(takes: Mapping[str, inspect.Parameter]) -> list[str]:
    """The options of a class as they are given here."""
    hidden = {"max_n": "", "snapshots_on_disk": "", "storage": "", "snapshots_in_ram": "snapshots"}
    return [name for name in (hidden.get(option, option) for option in takes) if name]


def from_checkpoint_schedules(schedule: "CheckpointSchedule") -> Schedule:
    """Hold what a `checkpoint_schedules` schedule holds. It must be fresh, and keep everything in memory.

    It is copied and never advanced, so it may be bound any number of times. An offline schedule serves chains of its
    `max_n` layers. An online one serves any chain.

    Raises ValueError for any other object, and for a schedule that has been iterated. When the schedule is bound, it is
    raised for one that uses a disk, has another length or does not reverse every step. Raises ImportError if the
    library is not installed.
    """
    library = _library()
    if not isinstance(schedule, library.CheckpointSchedule):
        raise ValueError(f"schedule must be a checkpoint_schedules.CheckpointSchedule, got {schedule!r}")
    length = "" if schedule.max_n is None else f", max_n={schedule.max_n}"
    name = f"from_checkpoint_schedules({type(schedule).__name__}{length})"
    try:
        fresh = deepcopy(schedule)
    except TypeError as error:
        raise ValueError(f"{name}: must not have been iterated before, make a fresh one ({error})") from None

    @lru_cache(maxsize=4)
    def adapted(chain: Chain) -> Keep:
        return _keeping(library, deepcopy(fresh), chain, name)

    adapted.__name__ = name
    return adapted


def _keeping(library: ModuleType, stream: "CheckpointSchedule", chain: Chain, name: str) -> Keep:
    """A schedule bound to `chain`. When backward asks, it holds what the stream holds then."""
    try:
        held = _held_at_requests(library, stream, chain.depth)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None

    def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
        asked = min(stop, chain.depth - 1)
        return {0, *(position for position in held[asked] if position in cached or start < position <= asked)}

    return keep


def _library() -> ModuleType:
    try:
        import checkpoint_schedules
    except ImportError as error:
        raise ImportError("checkpoint_schedules is not installed: pip install checkpoint-schedules") from error
    library: ModuleType = checkpoint_schedules
    return library


def _held_at_requests(library: ModuleType, stream: "CheckpointSchedule", depth: int) -> list[tuple[int, ...]]:
    """Walk through the stream. Entry p is what it holds when backward asks for after[p]."""
    if stream.max_n not in (None, depth):
        raise ValueError(f"has {stream.max_n} steps, the network {depth} layers: make one with max_n={depth}")
    memory: dict[int, set[int]] = {}
    work: set[int] = set()
    held: list[tuple[int, ...]] = [()] * depth
    reversed_to = depth
    for action in stream:
        if library.StorageType.DISK in action.args:
            raise ValueError(f"uses a disk: {action!r}; only schedules that keep everything in memory can be run")
        match action:
            case library.Forward():
                stored = {action.n0} if action.write_ics else set()
                stored.update(range(action.n0, min(action.n1, depth)) if action.write_adj_deps else ())
                in_memory = action.storage == library.StorageType.RAM
                work = set() if in_memory else stored
                if in_memory:
                    memory[action.n0] = stored
                if stream.max_n is None and action.n1 >= depth:
                    stream.finalize(depth)
            case library.Copy() | library.Move():
                if action.n not in memory:
                    raise ValueError(f"fetches what it has not stored: {action!r}")
                if action.to_storage == library.StorageType.WORK:
                    work |= memory[action.n]
                if isinstance(action, library.Move):
                    del memory[action.n]
            case library.Reverse():
                reversed_to = action.n0
                held[action.n0 : action.n1] = [tuple(sorted(work.union(*memory.values())))] * len(action)
                work = set() if action.clear_adj_deps else work
            case library.EndReverse():
                break
    if reversed_to > 0:
        raise ValueError(f"does not reverse the steps below {reversed_to}")
    return held
