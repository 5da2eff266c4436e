"""Budgets that follow from another schedule: what they come to, what they are called, and what is refused."""

import inspect
import re
from collections.abc import Callable
from itertools import groupby

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.experiment.file import Experiment
from harness.experiment.prediction import trace_of
from harness.provenance import ROOT
from networks.chain import Chain
from networks.schedules import FACTORIES, Schedule, evicting, greedy, optimal
from networks.schedules.budget import budget
from networks.schedules.spec import parse_schedule
from networks.trace import STEPS, dry_run
from tests.support.strategies import Configuration, configurations

LAYERS = (5, 8, 8, 30, 4, 8, 8, 8, 16, 2, 9, 9, 3)
NAMED = ("store_all()", "sqrt()", "revolve(slots=2)", "revolve(slots=3)", "periodic(3, recompute='each')")
TAKING = (greedy, evicting, optimal)


@given(configurations(), st.sampled_from(NAMED), st.sampled_from([*STEPS, 1, 2, 7]))
def test_the_budget_is_the_dry_runs_peak_of_the_named_schedule(configuration: Configuration, text: str, step: object):
    """For either step, and for one in parts of so many rows."""
    batch, rows = configuration.batch, step if isinstance(step, int) else None
    assume(rows is None or batch > 2 * rows)  # exactly two parts take less than either counts
    options = {"step": step} if rows is None else {"step": "train_step", "micro_batch": rows}
    trace = dry_run(
        configuration.layers, batch=batch, dtype=configuration.dtype, schedule=parse_schedule(text), **options
    )
    itemsize = trace.chain.itemsize
    whole = Chain(tuple(configuration.layers), batch, itemsize, options["step"] == "backward")
    chain = whole if rows is None else Chain(whole.layers, rows, itemsize, False, batch)
    assert budget(None, text).on(chain) == trace.peak_bytes


@pytest.mark.parametrize("batch", [2, 3, 5, 40, 300])
def test_the_budget_of_two_parts_is_at_least_the_peak(batch: int):
    rows = -(-batch // 2)
    trace = dry_run(LAYERS, batch=batch, schedule=parse_schedule("sqrt()"), step="train_step", micro_batch=rows)
    assert budget(None, "sqrt()").on(Chain(LAYERS, rows, 4, False, batch)) >= trace.peak_bytes


@pytest.mark.parametrize("factory", TAKING)
@pytest.mark.parametrize("text", ["store_all()", "store_all()*0.7", "revolve(slots=4)*1.25", "sqrt()"])
def test_a_step_within_it_is_the_step_within_so_many_bytes(factory: Callable[..., Schedule], text: str):
    schedule, factor = (*text.split("*"), "1")[:2]
    named = dry_run(LAYERS, batch=300, schedule=parse_schedule(schedule)).peak_bytes
    hundredths = round(100 * float(factor))
    typed = dry_run(LAYERS, batch=300, schedule=factory(budget_bytes=named * hundredths // 100))
    assert dry_run(LAYERS, batch=300, schedule=factory(budget_of=text)) == typed


@given(st.integers(1, 10**6), st.integers(1, 2000))
def test_a_factor_is_exact_to_the_byte(batch: int, thousandths: int):
    chain = Chain((3, 4, 2), batch, 4)
    whole = budget(None, "store_all()").on(chain)
    assert budget(None, f"store_all()*{thousandths / 1000:.3f}").on(chain) == whole * thousandths // 1000


@pytest.mark.parametrize("factory", TAKING)
@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("revolve(slots=3)", "'revolve(slots=3)'"),
        (" revolve( slots = 3 ) * 0.50 ", "'revolve(slots=3)*0.5'"),
        ("sqrt()*1", "'sqrt()'"),
        ("sqrt()*010.0", "'sqrt()*10'"),
        ("periodic(3)*0.25", "\"periodic(3, recompute='segment')*0.25\""),
        ("optimal(budget_of='sqrt()*1.5')*2", "\"optimal(budget_of='sqrt()*1.5')*2\""),
    ],
)
def test_the_name_is_the_call_in_one_form_and_parses_again(factory: Callable[..., Schedule], text: str, canonical: str):
    name = factory(budget_of=text).__name__
    assert name.startswith(f"{factory.__name__}(budget_of={canonical}")
    assert parse_schedule(name).__name__ == name


def test_a_budget_within_a_budget_is_followed():
    inner = dry_run(LAYERS, batch=300, schedule=optimal(budget_of="store_all()*0.8")).peak_bytes
    outer = optimal(budget_of="optimal(budget_of='store_all()*0.8')")
    assert dry_run(LAYERS, batch=300, schedule=outer).peak_bytes <= inner


def test_whatever_takes_bytes_takes_a_schedule_as_well():
    taking = [name for name, factory in FACTORIES.items() if "budget_bytes" in inspect.signature(factory).parameters]
    assert [factory.__name__ for factory in TAKING] == taking
    for name in taking:
        assert "budget_of" in inspect.signature(FACTORIES[name]).parameters


@pytest.mark.parametrize("factory", TAKING)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of budget_bytes and budget_of must be given, got budget_bytes=None and budget_of=None"),
        ({"budget_bytes": 9, "budget_of": "sqrt()"}, "got budget_bytes=9 and budget_of='sqrt()'"),
        ({"budget_of": 9}, "budget_of must be text such as 'revolve(slots=3)' or 'sqrt()*0.5', got 9"),
        (
            {"budget_of": ""},
            "budget_of='': schedule must be written like revolve(slots=4) or",
        ),
        ({"budget_of": "best()"}, "budget_of='best()': schedule must be one of store_all, periodic"),
        ({"budget_of": "revolve(slots=0)"}, "slots must be an integer of at least 1, got 0"),
        ({"budget_of": "sqrt()*-1"}, "budget_of='sqrt()*-1': schedule must be written like"),
        ({"budget_of": "sqrt()*1e3"}, "a factor may follow, as in 'sqrt()*0.5'"),
        ({"budget_of": "sqrt()*" + "9" * 5000}, "a factor may follow, as in 'sqrt()*0.5'"),
        ({"budget_of": "sqrt()*0.0"}, "budget_of='sqrt()*0.0' is no bytes at all; the factor must be above 0"),
        ({"budget_of": "greedy()"}, "budget_of='greedy()': exactly one of budget_bytes and budget_of must be given"),
    ],
)
def test_a_mistake_is_one_clear_line(factory: Callable[..., Schedule], options: dict[str, object], message: str):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        factory(**options)
    assert "\n" not in str(caught.value)


def test_a_budget_that_cannot_be_met_is_refused_when_the_experiment_is_read(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(
        'title = "Small"\nmeasure = ["memory"]\n[grid]\nlayers = ["8,8,8,3"]\nbatch = [40]\n'
        "schedule = [\"optimal(budget_of='store_all()*0.01')\"]\n"
    )
    said = "optimal(budget_of='store_all()*0.01') cannot serve layers 8x3,3: budget_bytes=76 is too small"
    with pytest.raises(ValueError, match=re.escape(f"{path}: grid: {said}")):
        Experiment.load(path)


def test_in_growth_the_optimum_has_the_bytes_that_revolve_takes():
    cells = [cell for cell in Experiment.load(ROOT / "experiments/growth.toml", bind=False).cells() if cell.schedule]
    for _, network in groupby(cells, key=lambda cell: cell.layers):
        of = {cell.schedule.partition("(")[0]: cell for cell in network}
        (slots,) = re.findall(r"slots=(\d+)", of["revolve"].schedule)
        assert int(slots) == (of["revolve"].depth - 1).bit_length()  # log2 of the depth, rounded up
        assert of["optimal"].schedule == f"optimal(budget_of={of['revolve'].schedule!r})"
        assert budget(None, of["revolve"].schedule).on(of["optimal"].chain) == trace_of(of["revolve"]).peak_bytes
