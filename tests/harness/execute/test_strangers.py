"""Others' schedules, tried in a process of their own before anything is measured."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.commands.command_line import app
from harness.execute import strangers
from harness.execute.strangers import require_sound
from harness.experiment.cell import own_cell
from networks.schedules.foreign import Source

RULES = """
import itertools, os


def good():
    return lambda chain: lambda cached, start, stop: {0, *cached, *range(start + 1, stop + 1)}


def hangs():
    def schedule(chain):
        while True:
            pass

    return schedule


def strays():
    def schedule(chain):
        def keep(cached, start, stop):
            return {0, 99}

        return keep

    return schedule


def no_keep():
    def schedule(chain):
        return 5

    return schedule


def fails():
    def schedule(chain):
        def keep(cached, start, stop):
            return {0, 1 // (stop - stop)}

        return keep

    return schedule


def refuses():
    def schedule(chain):
        raise ValueError(f"{chain.depth} layers are too many")

    return schedule


def whimsical():
    asked = itertools.count()
    return lambda chain: lambda cached, start, stop: {0} if next(asked) else {0, *range(start + 1, stop)}


def ends():
    os._exit(3)


def within(*, budget_bytes):
    if budget_bytes < 500:
        raise ValueError("too small")
    return good()
"""
SOURCES = [Source("rules.py", RULES)]
CELL = own_cell([8, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 3], batch=5, dtype="float32", step="backward")
WITH = r", with layers 8,9x10,3 and a batch of 5$"


def problem(*texts: str, **options) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is looked at
        require_sound([CELL.scheduled(text, SOURCES) for text in texts], **options)
    return str(caught.value)


def test_good_ones_and_ours_pass():
    texts = ("rules.py:good()", "sqrt()", "optimal(budget_of='rules.py:good()')")
    require_sound([CELL.scheduled(text, SOURCES) for text in texts])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("strays", rf"rules\.py:19: schedule rules\.py:strays\(\) holds \[99\], .* it answered \[0, 99\]{WITH}"),
        ("no_keep", rf"rules\.py:28: schedule rules\.py:no_keep\(\) must return a function .*, got 5{WITH}"),
        ("fails", rf"rules\.py:37: ZeroDivisionError: integer division or modulo by zero{WITH}"),
        ("refuses", rf"rules\.py:46: 11 layers are too many{WITH}"),
        ("whimsical", rf"rules\.py:53: rules\.py:whimsical\(\) answers the same question differently when .*{WITH}"),
        ("nowhere", r"rules\.py: has no function nowhere$"),
        ("ends", r"the schedules cannot be tried: the worker exited with 3 without an answer: $"),
    ],
)
def test_what_is_wrong_is_a_line_with_file_and_line_and_what_came_back(text, said):
    assert re.match(f"own.toml: {said}", problem(f"rules.py:{text}()", where="own.toml: "))


def test_a_hang_ends_and_is_told_with_its_line():
    assert re.fullmatch(r"rules\.py:1[12]: has not answered within 1 s", problem("rules.py:hangs()", seconds=1.0))


def test_each_problem_of_several_is_told_once_and_the_innermost_of_a_budget():
    said = problem("rules.py:fails()", "optimal(budget_of='rules.py:fails()*2')", "rules.py:refuses()").splitlines()
    assert [line.partition(",")[0] for line in said] == [
        "rules.py:37: ZeroDivisionError: integer division or modulo by zero",
        "rules.py:46: 11 layers are too many",
    ]


def test_in_a_plan_a_refusal_is_no_problem_and_what_is_left_open_is_searched():
    require_sound([CELL.scheduled("rules.py:refuses()", SOURCES)], budget_bytes=10_000)
    require_sound([CELL.scheduled("rules.py:within()", SOURCES)], budget_bytes=10_000)
    require_sound([CELL.scheduled("rules.py:within()", SOURCES)], budget_bytes=100)
    require_sound([CELL.scheduled("rules.py:fails()", SOURCES)], budget_bytes=10_000)  # its row says why
    assert "has no function nowhere" in problem("rules.py:nowhere()", budget_bytes=10_000)


@pytest.mark.parametrize(
    ("schedule", "limit", "said"),
    [
        ("hangs", "", "1[12]: has not answered within 1 s"),
        ("hangs", "limits.timeout = 2\n", "1[12]: has not answered within 2 s"),
        ("fails", "limits.timeout = 60\n", "37: ZeroDivisionError: .*"),
    ],
)
def test_show_finds_them_before_anything_runs(tmp_path: Path, monkeypatch, schedule, limit, said):
    monkeypatch.setattr(strangers, "SECONDS", 1.0)
    (tmp_path / "rules.py").write_text(RULES)
    path = tmp_path / "own.toml"
    text = 'title = "t"\nmeasure = ["memory"]\n[grid]\nlayers = ["8,9x10,3"]\nbatch = [5]\n'
    path.write_text(f'{limit}{text}schedule = ["rules.py:{schedule}()"]\n')
    for command in ("show", "run"):
        result = CliRunner().invoke(app, [command, str(path), "--results", str(tmp_path / "results")])
        assert result.exit_code == 2
        assert re.fullmatch(rf"{re.escape(str(path))}: grid: rules\.py:{said}\n", result.stderr), result.stderr
        assert not result.stdout
    assert not (tmp_path / "results").exists()


def test_a_file_that_is_not_there_is_told_as_the_experiment_is_read(tmp_path: Path):
    path = tmp_path / "own.toml"
    path.write_text(
        'title = "t"\nmeasure = ["memory"]\n[grid]\nlayers = ["8,9,3"]\nbatch = [5]\nschedule = ["a/rules.py:x()"]\n'
    )
    result = CliRunner().invoke(app, ["show", str(path)])
    assert result.exit_code == 2
    assert result.stderr == f"{path}: grid: a/rules.py: there is no such file in {tmp_path}\n"
