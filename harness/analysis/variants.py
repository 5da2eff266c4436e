"""Names of variants: store-all, a frequency, or a schedule with its numbers.

A *variant* is one way to train a configuration. The columns `VARIANT` tell it. Its *kind* is the name without numbers:
`revolve`, whatever its slots. Both names are for people, in tables and figures.

A schedule that the registry does not have is named by its text alone. No code of others is run, because tables may come
from strangers.
"""

import inspect
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import pandas as pd

from harness.experiment.frameworks import STORE_ALL
from harness.sizes import UNITS, parse_bytes
from networks.chain import Chain
from networks.schedules import FACTORIES
from networks.schedules.budget import BUDGETS, budget
from networks.schedules.registry import REGISTERED
from networks.schedules.spec import Call, calls_in, is_strange, parse_schedule

STORE_ALL_NETWORK = "Network"
"""The network that keeps all activations."""
VARIANT = ["network", "checkpoint_frequency", "recompute", "schedule", "step", "micro_batch"]


def _kind(name: str) -> str:
    return name.replace("_", "-")


SCHEDULE_KINDS = [_kind(name) for entry in REGISTERED.values() if entry.planned for name in entry.by_name]
"""The kinds of schedules in every plan, in the order of figures. `Network` is `store-all`."""

TRAIN_STEP, MICRO_BATCH = "train step", "micro-batch"
VARIANT_KINDS = [*SCHEDULE_KINDS, TRAIN_STEP, MICRO_BATCH]
"""All known kinds. A `train_step` and a batch in parts have kinds of their own, whatever their schedule. Other kinds,
such as `rules.py:fibonacci`, come between the schedules and the steps here, in the order of their names."""


class _Variant(NamedTuple):
    """`number` orders the variants of a kind: a frequency, slots or a budget. Another schedule's peak is 0."""

    kind: str
    number: int
    name: str


def name_variants(table: pd.DataFrame) -> pd.DataFrame:
    """Add to each row its `variant` and its `kind`.

    A variant is `store-all`, `n = 4`, which keeps every 4th layer output, or a schedule such as `revolve, 4 slots`. If
    the table also has steps by `backward`, a train step says so, as in `n = 4, train step`. A batch in parts is
    `micro-batch 128`. Variants and kinds are ordered categories of those in the table: store-all first, then by kind
    and number.
    """
    rows: list[list[Any]] = [[None if pd.isna(value) else value for value in row] for row in table[VARIANT].to_numpy()]
    both = table["step"].nunique() > 1
    named = [_stepped(_named(*schedule), step if both else None, rows) for *schedule, step, rows in rows]
    in_order = sorted(set(named), key=lambda variant: (*_place(variant.kind), *variant[1:]))
    variants = pd.CategoricalDtype([variant.name for variant in in_order], ordered=True)
    kinds = pd.CategoricalDtype(list(dict.fromkeys(variant.kind for variant in in_order)), ordered=True)
    return table.assign(
        variant=pd.Series([variant.name for variant in named], index=table.index, dtype=variants),
        kind=pd.Series([variant.kind for variant in named], index=table.index, dtype=kinds),
    )


def _place(kind: str) -> tuple[int, str]:
    """The place of a kind in the order of all kinds."""
    if kind not in VARIANT_KINDS:
        return len(SCHEDULE_KINDS), kind
    place = VARIANT_KINDS.index(kind)
    return (place, "") if place < len(SCHEDULE_KINDS) else (place + 1, "")


def budget_bytes_of(schedule: str | None, chain: Chain) -> int | None:
    """The budget of a schedule for `chain`. None if it has none, or if only code of others could tell it."""
    if schedule is None or pd.isna(schedule):
        return None
    call, *named = calls_in(schedule)
    given = [call.options.get(name) for name in BUDGETS]
    if call.is_strange:
        return given[0] if type(given[0]) is int else None
    return None if given == [None, None] or any(one.is_strange for one in named) else budget(*given).on(chain)


def with_budget(schedule: str, budget_bytes: int) -> str:
    """The same schedule with this budget."""
    call = calls_in(schedule)[0]
    others = {name: value for name, value in call.options.items() if name not in BUDGETS}
    return str(replace(call, options={"budget_bytes": int(budget_bytes), **others}))


def name_budget(nbytes: int) -> str:
    """The shortest exact name of a number of bytes: `24 MiB`, `1.5 MB`. No two budgets have the same name."""
    names = (f"{nbytes / factor:.10g} {unit}" for unit, factor in UNITS.items() if unit)
    exact = (name for name in names if "e" not in name and parse_bytes(name) == nbytes)
    return min((*exact, f"{nbytes} B"), key=len)


def _named(network: str, frequency: int | None, recompute: str | None, schedule: str | None) -> _Variant:
    if network == STORE_ALL_NETWORK:
        return _Variant(STORE_ALL, 0, STORE_ALL)
    if schedule is None:
        assert frequency is not None, "a cell has the one or the other"
        words = [_words("checkpoint_frequency", frequency), _words("recompute", recompute)]
        return _Variant("periodic", frequency, ", ".join(filter(None, words)))
    return _scheduled(schedule)


def _stepped(variant: _Variant, step: str | None, micro_batch: int | None) -> _Variant:
    name = "" if variant.name == STORE_ALL and micro_batch else f"{variant.name}, "
    if micro_batch is not None:
        return variant._replace(kind=MICRO_BATCH, number=micro_batch, name=f"{name}{MICRO_BATCH} {micro_batch}")
    return variant._replace(kind=TRAIN_STEP, name=f"{name}{TRAIN_STEP}") if step == "train_step" else variant


@cache
def _scheduled(text: str) -> _Variant:
    """The kind, and the words of the arguments that the kind does not fix. The first integer orders the variants."""
    call = _written_in_full(text)
    arguments = list(_arguments(call))
    kind, fixed = call.head, dict[str, str]()
    if not call.is_strange:
        entry = REGISTERED[call.name]
        name = entry.kind(dict(arguments))
        kind, fixed = _kind(name), dict(entry.by_name[name])
    told = [(argument, value) for argument, value in arguments if argument not in fixed]
    numbers = [value for _, value in told if isinstance(value, int)]
    words = [_words(argument, value) for argument, value in told]
    words += ["scheduled"] if kind == STORE_ALL else []
    return _Variant(kind, next(iter(numbers), 0), ", ".join([kind, *filter(None, words)]))


def _written_in_full(text: str) -> Call:
    """The call with all arguments of our own schedules. A call of others' code stays as it is written."""
    calls = calls_in(text)
    if is_strange(text) or any(REGISTERED[call.name].package for call in calls):
        return calls[0]
    return calls_in(parse_schedule(text).__name__)[0]


def _arguments(call: Call) -> Iterator[tuple[str, Any]]:
    """The arguments of a call with their names. Positional arguments of a stranger's call have no names."""
    if call.is_strange:
        yield from (("", value) for value in call.arguments)
        yield from call.options.items()
        return
    signature = inspect.signature(FACTORIES[call.name])
    for name, value in signature.bind(*call.arguments, **call.options).arguments.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            yield from value.items()
        else:
            yield name, value


def _words(argument: str, value: Any) -> str:
    """An argument of a schedule in words. One without words of its own is its name and its value."""
    match argument:
        case "checkpoint_frequency":
            return f"n = {value}"
        case "recompute":
            return "each" if value == "each" else ""
        case "slots":
            return f"{value} {'slot' if value == 1 else 'slots'}"
        case "budget_bytes" if type(value) is int:
            return name_budget(value)
        case "budget_of":
            return f"bytes of {value}"
    return f"{argument.replace('_', ' ')} {value}".strip()
