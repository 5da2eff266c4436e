"""The trace of a step: as sweeps over the layers, as text, as a picture and by command."""

import io
import itertools
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import LineCollection
from rich.console import Console
from typer.testing import CliRunner, Result

from harness.analysis.trace import StepTold, sweeps, told
from harness.commands.command_line import app
from harness.commands.trace import listed, text
from harness.plots.trace import draw_trace
from networks import Trace, dry_run
from networks.chain import Chain
from networks.schedules import Keep, Schedule, periodic, revolve
from tests.support.strategies import layer_lists, whimsical

UNIFORM = [8] * 11
"""Ten layers, of which three slots keep 4 and 7; then 5, and 1 and 2: see test_revolve.py."""


def revolved() -> Trace:
    return dry_run(UNIFORM, batch=100, schedule=revolve(slots=3))


def store_all(trace: Trace) -> StepTold:
    return told(dry_run(trace.chain.layers, batch=trace.chain.batch), "store_all()")


def giving_up(chain: Chain) -> Keep:
    """Of five layers keeps 1 and 3, and gives 1 up unused when after[2] is computed from it."""

    def keep(cached: Mapping[int, int], start: int, stop: int) -> Collection[int]:
        return {5: [0, 1, 3], 2: [0]}.get(stop, [0])

    return keep


# Sweeps


def test_a_step_is_told_as_sweeps():
    found = [
        ("back" if sweep.backward else "run", sweep.layers, sweep.kept, sorted(sweep.held))
        for sweep in sweeps(revolved())
    ]
    assert found == [
        ("run", (1, 2, 3, 4, 5, 6, 7, 8, 9, 10), (4, 7), [4, 7]),
        ("back", (10,), (), [4, 7]),
        ("run", (8,), (), [4, 7]),
        ("back", (9, 8), (), [4]),
        ("run", (5, 6), (5,), [4, 5]),
        ("back", (7, 6, 5), (), []),
        ("run", (1, 2, 3), (1, 2), [1, 2]),
        ("back", (4, 3, 2, 1), (), []),
    ]


def test_an_after_that_is_given_up_is_told():
    found = [
        (sweep.layers, sweep.dropped, sorted(sweep.held))
        for sweep in sweeps(dry_run([8] * 6, batch=9, schedule=giving_up))
    ]
    assert found == [
        ((1, 2, 3, 4, 5), (), [1, 3]),
        ((5, 4), (), [1]),
        ((2,), (1,), []),
        ((3,), (), []),
        ((1,), (), []),
        ((2, 1), (), []),
    ]


@given(layer_lists(), st.integers(0, 2**32))
def test_sweeps_tell_every_operation_once(layers: tuple[int, ...], seed: int):
    step = dry_run(layers, batch=40, schedule=whimsical(seed))
    found = list(sweeps(step))
    actions = {False: "forward", True: "parameter_deltas"}
    done = [(actions[sweep.backward], layer) for sweep in found for layer in sweep.layers]
    assert done == [(event.action, event.layer) for event in step.timeline if event.action in actions.values()]
    assert [sweep.backward for sweep in found] == [turn % 2 == 1 for turn in range(len(found))]
    assert max(nbytes for sweep in found for nbytes in sweep.live_bytes) == step.peak_bytes
    for before, sweep in itertools.pairwise(found):
        assert (before.held | set(sweep.kept)) - set(sweep.dropped) >= sweep.held
    assert not found[-1].held


# Text


def printed(trace: Trace, *, map_columns: int = 64) -> list[str]:
    console = Console(file=io.StringIO(), width=140)
    for part in text(told(trace, "some schedule"), store_all(trace), map_columns=map_columns):
        console.print(part)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_line_of_text_is_a_sweep():
    lines = printed(revolved())
    assert lines[0] == "some schedule: layers 8x11, batch 100, 32-bit floats"
    assert lines[2].split() == ["layers", "keeps", "drops", "1", "10", "steps", "live"]
    assert [line.split()[:-2] for line in lines[4:12]] == [
        ["run", "1..10", "4,", "7", "━━━●━━●━━━", "10"],
        ["back", "10", "···●··●··◂", "10"],
        ["run", "8", "···●··●━··", "11"],
        ["back", "9..8", "···●···◂◂·", "11"],
        ["run", "5..6", "5", "···●●━····", "13"],
        ["back", "7..5", "····◂◂◂···", "13"],
        ["run", "1..3", "1..2", "●●━·······", "16"],
        ["back", "4..1", "◂◂◂◂······", "16"],
    ]
    assert "forward steps 16 (store-all 10), 60.0% more forward work" in lines


def test_the_text_ends_with_the_peak_and_what_it_is_made_of():
    trace = revolved()
    *_, peak, kinds = printed(trace)
    assert peak.startswith(f"peak {trace.peak_bytes:,} bytes")
    assert [kind in kinds for kind in ("checkpoints", "other activations", "output gradients", "scratch memory")] == [
        True
    ] * 4


def test_a_deep_network_has_several_layers_to_a_character():
    """40 layers in 10 characters of four each; 9, 18, 27 and 36 are kept, in the third, fifth, seventh and ninth."""
    lines = printed(dry_run([8] * 41, batch=100, schedule=periodic(9)), map_columns=10)
    assert "━━●━●━●━●━" in lines[4]
    assert "··●·●·●·●◂" in lines[5]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([], ""),
        ([7], "7"),
        ([9, 4, 8, 7], "4, 7..9"),
        ([2, 4, 6, 8], "2, 4, 6, 8"),
        (range(8, 200, 8), "8, 16, 24, .. 192 (24)"),
        ([1, 2], "1..2"),
    ],
)
def test_layers_are_listed_shortly(layers: Collection[int], expected: str):
    assert listed(layers) == expected


# The picture


@pytest.mark.parametrize(
    ("schedule", "layers", "bars"),
    [
        (
            revolve(slots=3),
            UNIFORM,
            # Operations: 10 forward, 1 back; 1 forward, 2 back; 2 forward, 3 back; 3 forward, 4 back.
            [(7, 7, 14), (5, 15, 18), (4, 4, 19), (2, 21, 24), (1, 20, 25)],
        ),
        (giving_up, [8] * 6, [(3, 3, 7), (1, 1, 7)]),
    ],
)
def test_the_picture_shows_each_after_as_long_as_it_is_held(schedule: Schedule, layers: list[int], bars: list):
    trace = dry_run(layers, batch=100, schedule=schedule)
    axes, live = draw_trace(told(trace, "some schedule"), store_all(trace)).axes
    drawn, *_ = (artist for artist in axes.get_children() if isinstance(artist, LineCollection))
    segments = [(int(y), int(start), int(stop)) for (start, y), (stop, _) in drawn.get_segments()]
    assert sorted(segments) == sorted(bars)
    assert axes.get_xlim() == live.get_xlim() == (0, trace.forward_steps + trace.chain.depth)


def test_the_picture_shows_every_layer_done_and_all_live_bytes():
    """Up one layer for a forward step, down one for a backward step; beneath, the step's peak and store-all's."""
    trace = revolved()
    axes, live = draw_trace(told(trace, "some schedule"), store_all(trace)).axes
    _, forward, backward = (artist for artist in axes.get_children() if isinstance(artist, LineCollection))
    assert [path[:, 1].tolist() for path in forward.get_segments()] == [
        list(range(11)), [7, 8], [4, 5, 6], [0, 1, 2, 3],
    ]  # fmt: skip
    assert [path[:, 1].tolist() for path in backward.get_segments()] == [
        [10, 9], [9, 8, 7], [7, 6, 5, 4], [4, 3, 2, 1, 0],
    ]  # fmt: skip
    outline = live.patches[-1].get_data()
    assert len(outline.values) == trace.forward_steps + 10
    assert max(outline.values) == trace.peak_bytes / 2**20
    assert live.lines[0].get_ydata()[0] == store_all(trace).peak_bytes / 2**20


# The command


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["trace", *map(str, arguments)])


@pytest.mark.parametrize(("kind", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_command_prints_and_draws(tmp_path: Path, kind: str, magic: bytes):
    path = tmp_path / f"picture.{kind}"
    arguments = ["--schedule", "revolve(slots=3)", "--layers", "64,128x10,10", "--batch", 256]
    result = invoke(*arguments, "--output", path)
    assert result.exit_code == 0
    assert "run 1..11    5, 8            ━━━━●━━●━━━" in result.stdout
    assert f"picture: {path}" in result.stdout.replace("\n", "")
    assert path.read_bytes().startswith(magic)


def test_a_train_step_is_shown_beside_store_alls_train_step(tmp_path: Path):
    layers = ["--layers", "8,256x4,3", "--batch", 4, "--step", "train_step", "--output", tmp_path / "picture.svg"]
    (peak,) = (line for line in invoke(*layers).stdout.splitlines() if line.startswith("peak "))
    own, store_all = re.fullmatch(r"peak [\d,]+ bytes, (.*) \(store-all (.*)\)", peak).groups()
    assert own == store_all


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--schedule", "best"], "--schedule must be written like revolve(slots=4) or rules.py:factory(), got 'best'"),
        (["--schedule", "best()"], "--schedule must be one of store_all, periodic"),
        (["--schedule", "revolve()"], "--schedule 'revolve()': revolve() missing 1 required keyword-only argument"),
        (["--schedule", "revolve(slots=0)"], "slots must be an integer of at least 1, got 0"),
        (["--schedule", "sqrt(slots=3)"], "--schedule 'sqrt(slots=3)': sqrt() got an unexpected keyword argument"),
        (["--schedule", "greedy()"], "exactly one of budget_bytes and budget_of must be given"),
        (["--schedule", "optimal(budget_of='best()')"], "budget_of='best()': schedule must be one of"),
        (["--schedule", "greedy(budget_bytes=9)"], "budget_bytes=9 is too small for greedy checkpoints of 2 layers"),
        (
            ["--layers", "8x5001", "--schedule", "optimal(budget_bytes=10**9)"],
            "--schedule must be written like revolve(slots=4)",
        ),
        (
            ["--layers", "8x5001", "--schedule", "optimal(budget_bytes=1000000000)"],
            "optimal serves up to 4,096 layers, got 5,000; revolve, periodic and sqrt serve any\n",
        ),
        (["--micro-batch", 2], "--micro-batch 2 goes with --step train_step, got --step backward\n"),
        (["--dtype", "int8"], "--dtype must be float32 or float64, got 'int8'"),
        (["--schedule", "periodic(0)"], "checkpoint_frequency must be an integer of"),
        (["--schedule", "rules.py:x()"], "rules.py: there is no such file in "),
        (
            ["--schedule", "no_such_module.rules:x()"],
            "no_such_module.rules: no module no_such_module is",
        ),
        (["--layers", "8,,3"], "--layers '8,,3': '' is not a width such as 128 or a run such as 128x32"),
        (["--batch", 0], "--batch must be an integer of at least 1, got 0"),
        (["--output", "trace.pdf"], "--output must end in .png or .svg, got 'trace.pdf'"),
    ],
)
def test_a_mistake_is_one_clear_line(options: list[object], message: str):
    result = invoke("--layers", "8,8,3", "--batch", 4, *options)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert not result.stdout
