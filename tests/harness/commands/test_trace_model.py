"""The trace of a model of blocks: as sweeps, and by command from a saved profile."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import LineCollection
from typer.testing import CliRunner, Result

from harness.analysis.block_trace import told_blocks
from harness.commands.command_line import app
from harness.plots.trace import draw_trace
from networks.schedules.blocks import block_schedule
from tests.support.blocks import naive_replay, random_block_chain
from tests.support.profiles import MIB, block, profile

SIX = profile(*(block(f"layers.{number}") for number in range(6)))
SCHEDULES = "plain()", "torch_checkpoint(2)", "revolve(slots=2)", "taped(budget_bytes={})"


def test_a_step_is_told_as_sweeps():
    """`torch.utils.checkpoint` around every two of six blocks: each pair runs again with its tapes."""
    told = told_blocks(SIX.chain(), block_schedule("torch_checkpoint(2)"), "six")
    found = [
        ("back" if sweep.backward else "run", sweep.layers, sweep.kept, sweep.kept_tapes, sorted(sweep.held))
        for sweep in told.sweeps
    ]
    assert found == [
        ("run", (1, 2, 3, 4, 5, 6), (2, 4), (), [2, 4]),
        ("run", (5, 6), (), (5, 6), [2, 4]),
        ("back", (6, 5), (), (), [2]),
        ("run", (3, 4), (), (3, 4), [2]),
        ("back", (4, 3), (), (), []),
        ("run", (1, 2), (), (1, 2), []),
        ("back", (2, 1), (), (), []),
    ]


@given(st.integers(0, 2**32), st.sampled_from(SCHEDULES))
def test_sweeps_tell_every_run_and_the_peak(seed: int, text: str):
    chain = random_block_chain(seed)
    schedule = block_schedule(text.format(10**9))
    told = told_blocks(chain, schedule, "some blocks")
    peak_bytes, flops = naive_replay(chain, schedule(chain))
    runs = [layer for sweep in told.sweeps if not sweep.backward for layer in sweep.layers]
    assert sum(chain.forward_flops[layer] for layer in runs) == told.forward_flops == flops
    assert [layer for sweep in told.sweeps if sweep.backward for layer in sweep.layers] == [*range(chain.depth, 0, -1)]
    assert max(nbytes for sweep in told.sweeps for nbytes in sweep.live_bytes) == told.peak_bytes == peak_bytes
    assert sum(told.peak_bytes_by_kind.values()) == peak_bytes
    for before, sweep in pairwise(told.sweeps):
        assert before.held | set(sweep.kept) >= sweep.held
        assert before.held_tapes | set(sweep.kept_tapes) >= sweep.held_tapes
    assert not told.sweeps[-1].held | told.sweeps[-1].held_tapes


def test_the_picture_shows_each_tape_as_long_as_it_is_held():
    """Three blocks, all with tapes: six operations, and the tape of block 1 is there from the first to the last."""
    told = told_blocks(
        profile(*(block(str(number)) for number in range(3))).chain(), block_schedule("plain()"), "three"
    )
    axes, _ = draw_trace(told, told).axes
    _, tapes, *_ = (artist for artist in axes.get_children() if isinstance(artist, LineCollection))
    assert sorted((y, start, stop) for (start, y), (stop, _) in tapes.get_segments()) == [
        (0.5, 1, 6), (1.5, 2, 5), (2.5, 3, 4),
    ]  # fmt: skip


# The command


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "profile.json"
    path.write_text(SIX.to_json())
    return path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["trace", *map(str, arguments)])


def test_the_command_prints_and_draws_a_profile(saved: Path, tmp_path: Path):
    budget = SIX.plan(budget_bytes=20 * MIB).best.schedule
    picture = tmp_path / "picture.svg"
    result = invoke("--model", saved, "--schedule", budget, "--output", picture)
    assert result.exit_code == 0
    assert "6 blocks, inputs float32 (8, 3), gradients kept" in result.stdout
    assert "tape held then" in result.stdout
    assert picture.read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--schedule", "taped(budget_bytes=3)"], "budget_bytes=3 is too small for these 6 blocks: the smallest"),
        (["--schedule", "best()"], "--schedule must be one of "),
        (["--gradients", "lost"], "--gradients must be one of kept, freed, got 'lost'"),
        (["--batch", 3], "--batch does not go with --model"),
        (["--model", "elsewhere.json"], "elsewhere.json: there is no such file"),
        (
            ["--model", "my_model.py:make"],
            "my_model.py:make: give a profile, which python -m harness profile my_model.py:make --save profile.json",
        ),
    ],
)
def test_a_mistake_is_one_clear_line(saved: Path, options: list[object], message: str):
    result = invoke("--model", saved, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


def test_what_is_no_profile_is_said(saved: Path):
    saved.write_text("{}")
    assert invoke("--model", saved).stderr.startswith(f"{saved}: ")
