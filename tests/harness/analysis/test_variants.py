"""What variants are called in tables and figures."""

import pandas as pd
import pytest

from harness.analysis import variants
from harness.analysis.variants import SCHEDULE_KINDS, VARIANT, budget_bytes_of, name_budget, name_variants, with_budget
from networks.chain import Chain
from networks.schedules import REGISTERED, store_all
from networks.schedules.evicting import HEURISTICS
from networks.schedules.registry import Registered
from networks.schedules.replay import replay

STORE_ALL = ("Network", None, None, None, "backward", None)


def checkpointed(frequency: int, recompute: str = "segment") -> tuple:
    return ("NetworkWithCheckpointing", frequency, recompute, None, "backward", None)


def scheduled(text: str) -> tuple:
    return ("NetworkWithCheckpointing", None, None, text, "backward", None)


def trained(variant: tuple, micro_batch: int | None = None) -> tuple:
    return (*variant[:4], "train_step", micro_batch)


def table(*rows: tuple) -> pd.DataFrame:
    types = {"checkpoint_frequency": "Int64", "recompute": "str", "schedule": "str", "micro_batch": "Int64"}
    return pd.DataFrame(rows, columns=VARIANT).astype(types)


def test_variants_are_named_and_ordered_for_people():
    named = name_variants(
        table(checkpointed(16), checkpointed(2), checkpointed(2, "each"), STORE_ALL, checkpointed(16))
    )
    assert named["variant"].tolist() == ["n = 16", "n = 2", "n = 2, each", "store-all", "n = 16"]
    assert named["variant"].cat.categories.tolist() == ["store-all", "n = 2", "n = 2, each", "n = 16"]
    assert named["kind"].cat.categories.tolist() == ["store-all", "periodic"]


def test_steps_and_parts_are_named_after_schedules():
    rows = [trained(STORE_ALL, 64), trained(checkpointed(4), 64), trained(checkpointed(4)), trained(STORE_ALL)]
    named = name_variants(table(*rows, checkpointed(4), STORE_ALL))
    names = ["micro-batch 64", "n = 4, micro-batch 64", "n = 4, train step", "store-all, train step"]
    assert named["variant"].tolist() == [*names, "n = 4", "store-all"]
    assert named["kind"].cat.categories.tolist() == ["store-all", "periodic", "train step", "micro-batch"]


def test_where_every_step_is_a_train_step_it_goes_without_saying():
    named = name_variants(table(trained(STORE_ALL), trained(checkpointed(4)), trained(STORE_ALL, 64)))
    assert named["variant"].tolist() == ["store-all", "n = 4", "micro-batch 64"]


@pytest.mark.parametrize(
    ("text", "variant", "kind"),
    [
        ("store_all()", "store-all, scheduled", "store-all"),
        ("periodic(3)", "periodic, n = 3", "periodic"),
        ("periodic(3, recompute='each')", "periodic, n = 3, each", "periodic"),
        ("sqrt()", "sqrt", "sqrt"),
        ("greedy(budget_bytes=25165824)", "greedy, 24 MiB", "greedy"),
        ("revolve(slots=1)", "revolve, 1 slot", "revolve"),
        ("revolve(slots=12)", "revolve, 12 slots", "revolve"),
        ("evicting(budget_bytes=1500000)", "evicting dtr, 1.5 MB", "evicting dtr"),
        ("evicting(budget_bytes=1500000, heuristic='lru')", "evicting lru, 1.5 MB", "evicting lru"),
        ("optimal(budget_bytes=8000001)", "optimal, 8000001 B", "optimal"),
        ("optimal(budget_of='revolve( slots=3 )')", "optimal, bytes of revolve(slots=3)", "optimal"),
        ("evicting(budget_of='sqrt()*0.50')", "evicting dtr, bytes of sqrt()*0.5", "evicting dtr"),
        (
            "checkpoint_schedules('Revolve', snapshots=4)",
            *["checkpoint-schedules Revolve, snapshots 4", "checkpoint-schedules Revolve"],
        ),
        ("rules.py:fibonacci()", "rules.py:fibonacci", "rules.py:fibonacci"),
        (
            "my_package.rules:revolve(4, 'up', part_of=2)",
            "my_package.rules:revolve, 4, up, part of 2",
            "my_package.rules:revolve",
        ),
        ("a/rules.py:part(budget_bytes=1500000)", "a/rules.py:part, 1.5 MB", "a/rules.py:part"),
        ("a/rules.py:part(budget_bytes='half')", "a/rules.py:part, budget bytes half", "a/rules.py:part"),
        ("optimal(budget_of='rules.py:part()*0.5')", "optimal, bytes of rules.py:part()*0.5", "optimal"),
        ("announced(5)", "announced, 5", "announced"),
    ],
)
def test_schedules_are_named_by_kind_and_number(text: str, variant: str, kind: str):
    row = name_variants(table(scheduled(text))).iloc[0]
    assert (row["variant"], row["kind"]) == (variant, kind)


def test_schedules_come_in_the_order_of_kinds_and_numbers():
    texts = ["optimal(budget_bytes=9000000)", "revolve(slots=10)", "optimal(budget_bytes=10000000)", "revolve(slots=9)"]
    named = name_variants(table(*map(scheduled, texts), checkpointed(4), STORE_ALL))
    in_order = ["store-all", "n = 4", "revolve, 9 slots", "revolve, 10 slots", "optimal, 9 MB", "optimal, 10 MB"]
    assert named["variant"].cat.categories.tolist() == in_order
    assert named["kind"].cat.categories.tolist() == ["store-all", "periodic", "revolve", "optimal"]


def test_strangers_come_after_our_schedules_and_before_steps_of_other_kinds():
    texts = ["b.py:x(3)", "optimal(budget_bytes=9000000)", "a.py:x()", "checkpoint_schedules('HRevolve', snapshots=1)"]
    named = name_variants(table(*map(scheduled, texts), trained(STORE_ALL), STORE_ALL))
    kinds = ["store-all", "optimal", "a.py:x", "b.py:x", "checkpoint-schedules HRevolve", "train step"]
    assert named["kind"].cat.categories.tolist() == kinds


def test_budgets_are_read_from_schedules_that_have_one():
    chain = Chain((8, 8, 8, 3), 40, 4)
    assert budget_bytes_of("greedy(budget_bytes=123)", chain) == 123
    half = replay(chain, store_all()(chain)).peak_bytes // 2
    assert budget_bytes_of("evicting(budget_of='store_all()*0.5', heuristic='lru')", chain) == half
    assert budget_bytes_of("revolve(slots=3)", chain) is budget_bytes_of(None, chain) is None
    assert budget_bytes_of("rules.py:part(budget_bytes=123)", chain) == 123
    assert budget_bytes_of("rules.py:part(budget_bytes='half')", chain) is None
    assert budget_bytes_of("optimal(budget_of='rules.py:part()')", chain) is None  # whose code is not run to find out


def test_a_schedule_is_given_another_budget_and_keeps_the_rest():
    assert with_budget("optimal(budget_of='sqrt()')", 5) == "optimal(budget_bytes=5)"
    lru = "evicting(budget_bytes=5, heuristic='lru')"
    assert with_budget("evicting(budget_bytes=9_000, heuristic='lru')", 5) == lru
    assert with_budget("evicting(budget_of=\"periodic(3, recompute='each')*0.5\", heuristic='lru')", 5) == lru


def test_every_schedule_of_the_registry_is_of_a_kind():
    arguments = {"periodic": "3", "revolve": "slots=3", "sqrt": "", "store_all": ""}
    planned = [name for name, entry in REGISTERED.items() if entry.planned]
    texts = [f"{name}({arguments.get(name, 'budget_bytes=5000')})" for name in planned]
    texts += [f"evicting(budget_bytes=5000, heuristic={heuristic!r})" for heuristic in HEURISTICS]
    named = name_variants(table(*map(scheduled, texts)))
    assert named["kind"].cat.categories.tolist() == SCHEDULE_KINDS


def test_arguments_without_words_of_their_own_are_told_by_name():
    assert variants._words("inner_part", 3) == "inner part 3"
    assert variants._words("order", "up") == "order up"


def test_a_kind_is_told_by_what_it_fixes():
    entry = Registered(name="strange_one", kinds=({"order": "up"}, {"order": "down"}))
    assert [entry.kind({"budget_bytes": 9, "order": order}) for order in ("up", "down")] == list(entry.by_name)
    assert list(entry.by_name) == ["strange_one up", "strange_one down"]
    assert Registered(name="strange_one").kind({"budget_bytes": 9}) == "strange_one"


@pytest.mark.parametrize(
    ("nbytes", "name"),
    [
        (24 * 2**20, "24 MiB"), (3 * 2**19, "1.5 MiB"), (8_000_000, "8 MB"), (1_500_000, "1.5 MB"),
        (96 * 2**10, "96 KiB"), (999_000, "999 kB"), (10**9, "1 GB"), (24 * 2**20 + 1, "25165825 B"),
        (12_345_678_902, "12345678902 B"),
    ],
)  # fmt: skip
def test_a_budget_is_named_exactly(nbytes: int, name: str):
    assert name_budget(nbytes) == name
