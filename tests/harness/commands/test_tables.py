"""Tables fit the page: no line is too long, no name is broken, and each long one is told whole beneath."""

import json
import random
import re

import pytest
from typer.testing import CliRunner

from harness.commands import plan_measured, profile
from harness.commands.command_line import app
from harness.commands.console import WIDE_COLUMNS, new_console
from harness.commands.tables import Key, aligned, wrapped
from harness.experiment.job import Outcome
from harness.provenance import ROOT
from tests.support import profiles

COMMANDS = [
    ["list"],
    ["list", "--schedules"],
    ["show", "schedules"],
    ["show", "peers"],
    ["show", "where_it_saves"],
    ["rank", "results/schedules"],
    ["compare", "results/depth_by_frequency", "results/depth_by_frequency"],
    ["peers", "results/peers"],
    ["plan", "--layers", "64,128x31,10", "--batch", "1024", "--budget", "6MiB"],
    ["plan", "--layers", "64,512,10", "--batch", "2048", "--budget", "24MiB", "--max-depth"],
    ["plan", "--layers", "64,512x3,10", "--batch", "16", "--budget", "3MiB", "--measure"],
]


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch):
    """Each layer's products take a second, forward and backward; the rest cannot be measured."""

    def answered(job):
        if job.measure != "products":
            return Outcome(None, "not today")
        layers = range(1, job.cells[0].depth + 1)
        rows = [{"layer": layer, "forward_seconds": 1, "backward_seconds": 1} for layer in layers]
        return Outcome([rows for _ in job.cells])

    monkeypatch.setattr(plan_measured, "_measured", answered)
    monkeypatch.chdir(ROOT)


def printed(arguments: list[str], columns: int) -> str:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_every_table_fits_80_columns_and_breaks_no_word(arguments):
    narrow, wide = (printed(arguments, columns) for columns in (80, 2000))
    assert max(map(len, narrow.splitlines())) <= 80
    numbered = re.findall(r"(?:^|[ ])([^\s\[\]]*)\[(\d+)\](?=[ \n])", narrow, re.M)
    words = {word for word in narrow.split() if not re.search(r"\[\d+\]$", word) and not set(word) <= {"─"}}
    assert words <= {*wide.split(), *re.findall(r"[^\s,]+,?", wide)}  # a long list of layers is broken between widths
    assert {number for called, number in numbered if called} <= {number for called, number in numbered if not called}


def test_a_plan_numbers_its_schedules_and_tells_them_whole_beneath():
    lines = printed(COMMANDS[8], 80).splitlines()
    assert any(re.match(r"periodic\[1\] +yes +5\.48 MiB ", line) for line in lines)
    assert "[1] periodic(4, recompute='segment')" in lines
    assert any(re.match(r"revolve\(slots=7\) +yes ", line) for line in lines)


def test_a_profile_breaks_no_name_of_a_block_and_leaves_empty_columns_out():
    names = [f"encoder.layers.{number}.self_attention.output" for number in range(12)]
    blocks = [profiles.block(name, random=name == names[0]) for name in names]
    _, table, *_ = profile.text(profiles.profile(*blocks), 80)
    assert max(map(len, table.splitlines())) <= 80
    assert set(names) <= set(table.split())
    assert " random" in table
    assert "buffers" not in table


def test_a_single_step_of_a_model_is_shown_without_a_table(tmp_path):
    (tmp_path / "own.py").write_text("def make(): ...")
    experiment = tmp_path / "one.toml"
    experiment.write_text('title = "One"\nmeasure = ["models_memory"]\n[grid]\nmodel = ["own.py:make"]\n')
    shown = printed(["show", str(experiment), "--results", str(tmp_path)], 80)
    assert shown.splitlines() == [
        "One",
        "",
        "all cells: model own.py:make, variant plain, gradients kept",
        "",
        "models_memory: 1 cells in 1 processes",
    ]


def test_what_fits_is_one_table_of_one_heading():
    rows = [{"name": "a", "some_bytes": "1"}, {"name": "long", "some_bytes": "2,000"}]
    assert aligned(rows, left=["name"], width=16) == (
        "name  some bytes\n────────────────\na              1\nlong       2,000"
    )


def test_headings_are_broken_before_names_are_numbered_and_names_before_columns_move():
    rows = [{"name": "periodic(2)", "some_bytes": "1"}, {"name": "revolve(slots=30)", "some_bytes": "2,000"}]
    assert aligned(rows, left=["name"], width=24).splitlines() == [
        "                    some",
        "name               bytes",
        "────────────────────────",
        "periodic(2)            1",
        "revolve(slots=30)  2,000",
    ]
    assert aligned(rows, left=["name"], width=23).splitlines() == [
        "              some",
        "name         bytes",
        "──────────────────",
        "periodic(2)      1",
        "revolve[1]   2,000",
        "",
        "[1] revolve(slots=30)",
    ]
    rows = [row | {"time": "0.1234567"} for row in rows]
    assert aligned(rows, left=["name"], width=20).split("\n\n")[1].splitlines() == [
        "name              time",
        "──────────────────────",
        "periodic(2)  0.1234567",
        "revolve[1]   0.1234567",
    ]


@pytest.mark.parametrize("seed", range(20))
def test_any_rows_fit_and_every_cell_is_told_whole(seed):
    draw = random.Random(seed)
    width = draw.randint(80, 160)
    columns = [f"column_{number}" for number in range(draw.randint(2, 12))]
    left = columns[: draw.randint(1, 2)]

    def cell(column):
        if column in left:
            return f"{draw.choice('abc')}({','.join('x' * draw.randint(1, 9) for _ in range(draw.randint(0, 7)))})"
        return "9" * draw.randint(0, 12)

    rows = [{column: cell(column) for column in columns} for _ in range(draw.randint(1, 9))]
    told = aligned(rows, left=left, width=width)
    assert max(map(len, told.splitlines())) <= width
    assert {one for row in rows for one in row.values() if one} <= set(told.split())


def test_one_key_serves_several_tables():
    key = Key()
    rows = [{"name": "rules/mine.py:fibonacci(a=1, b=22222222222)", "n": "1"}]
    tables = [aligned(rows, left=["name"], width=20, key=key) for _ in range(2)]
    assert tables[0] == tables[1]
    assert "fibonacci[1]" in tables[0]
    assert key.lines(30) == ["[1] rules/mine.py:fibonacci(a=1,\n    b=22222222222)"]


def test_a_long_word_is_not_broken_where_a_line_is():
    assert wrapped("a/path/that/is-longer-than/the-page and a word", 12) == (
        "a/path/that/is-longer-than/the-page\n    and a\n    word"
    )


def test_a_page_that_is_no_terminal_has_the_columns_that_it_is_told(monkeypatch):
    monkeypatch.setenv("COLUMNS", "72")
    assert new_console().width == 72
    monkeypatch.delenv("COLUMNS")
    assert new_console().width == WIDE_COLUMNS


def test_an_answer_for_programs_is_the_same_on_any_page():
    plan = [*COMMANDS[8], "--json"]
    assert json.loads(printed(plan, 40)) == json.loads(printed(plan, 200))
