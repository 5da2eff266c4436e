"""Schedules in others' files and modules: found, named by their calls, and told in a line where they are none."""

import copy
import pickle
import re
import sys
from pathlib import Path

import pytest

from networks import NetworkWithCheckpointing, dry_run
from networks.chain import Chain
from networks.schedules import foreign
from networks.schedules.foreign import Source
from networks.schedules.spec import calls_in, is_strange, parse_schedule, read_sources

CHAIN = Chain((4, 5, 5, 5, 3), 2, 4)
RULES = """
from dataclasses import dataclass


@dataclass
class Every:
    part: "int"

    def __call__(self, chain):
        return lambda cached, start, stop: {0, *(n for n in range(start + 1, stop + 1) if n % self.part == 0)}


def every(part=2, *, budget_bytes=None):
    return Every(part)


def five():
    return 5


def fails():
    return 1 / 0


def unbound():
    def schedule(chain):
        return {}["a"]

    return schedule


constant = 5
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a file of schedules."""
    (tmp_path / "rules.py").write_text(RULES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_is_read_from_the_working_directory_and_its_name_is_the_call(folder):
    schedule = parse_schedule(" ./rules.py : every( 3, budget_bytes = 1_0 )")
    assert schedule.__name__ == "rules.py:every(3, budget_bytes=10)"
    assert schedule(CHAIN)({0: 0}, 0, 4) == {0, 3}
    assert parse_schedule(schedule.__name__)(CHAIN)({0: 0}, 0, 4) == {0, 3}
    assert dry_run([4, 5, 5, 3], batch=2, schedule=schedule).forward_steps >= 3


def test_what_was_read_is_run_whatever_the_file_says_since(folder):
    sources = read_sources("rules.py:every(3)", folder)
    (folder / "rules.py").write_text("raise RuntimeError")
    assert parse_schedule("rules.py:every(3)", sources)(CHAIN)({0: 0}, 0, 4) == {0, 3}
    with pytest.raises(ValueError, match=r"^rules.py:1: RuntimeError: , while the file ran$"):
        parse_schedule("rules.py:every(3)")


def test_two_files_of_one_name_are_two(folder):
    for place, layer in (("a", 1), ("b", 2)):
        (folder / place).mkdir()
        (folder / place / "rules.py").write_text(
            f"def one():\n    return lambda chain: lambda *asked: {{0, {layer}}}\n"
        )
    made = [parse_schedule(f"{place}/rules.py:one()") for place in "ab"]
    assert [schedule(CHAIN)({0: 0}, 0, 4) for schedule in made] == [{0, 1}, {0, 2}]
    assert str(folder) not in sys.path
    assert "rules" not in sys.modules


def test_a_budget_may_be_a_strangers_times_a_factor(folder):
    schedule = parse_schedule("optimal(budget_of='rules.py:every(3)*1.5')")
    assert schedule.__name__ == "optimal(budget_of='rules.py:every(3)*1.5')"
    sources = read_sources(schedule.__name__, folder)
    assert [source.path for source in sources] == ["rules.py"]
    (folder / "rules.py").unlink()
    fixed = parse_schedule(schedule.__name__, sources)
    assert dry_run([4, 5, 5, 3], batch=2, schedule=fixed).peak_bytes > 0


def test_an_installed_module_and_what_a_package_announces(folder, monkeypatch):
    (folder / "strange_rules.py").write_text(RULES)
    monkeypatch.syspath_prepend(folder)
    assert parse_schedule("strange_rules:every(3)")(CHAIN)({0: 0}, 0, 4) == {0, 3}
    described = folder / "strange_rules-1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: strange-rules\nVersion: 1\n")
    (described / "entry_points.txt").write_text(f"[{foreign.GROUP}]\neach = strange_rules:every\nsqrt = no:where\n")
    foreign.announced.cache_clear()
    try:
        schedule = parse_schedule("each(3)")
        assert parse_schedule("sqrt()").__name__ == "sqrt()"  # ours come first
        assert calls_in("each(3)")[0].code == "strange_rules"
    finally:
        foreign.announced.cache_clear()
    assert schedule.__name__ == "each(3)"
    assert schedule(CHAIN)({0: 0}, 0, 4) == {0, 3}


def test_to_read_a_text_runs_no_code(folder):
    (folder / "rules.py").write_text("raise SystemExit(3)")
    assert is_strange("rules.py:x()")
    assert is_strange("optimal(budget_of='rules.py:x()*2')")
    assert not is_strange("optimal(budget_of='sqrt()')")
    assert str(calls_in("rules.py:x( 1,\n a = [2] )")[0]) == "rules.py:x(1, a=[2])"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nowhere.py:x()", r"^nowhere\.py: there is no such file in /.*$"),
        (".:x()", r"^schedule must be written like revolve\(slots=4\) or rules\.py:factory\(\), got '\.:x\(\)'$"),
        ("rules.py:ever()", r"^rules\.py: has no function ever; did you mean every\?$"),
        ("rules.py:constant()", r"^rules\.py: has no function constant$"),
        ("rules.py:five()", r"^rules\.py:17: rules\.py:five\(\) must return a schedule, a function of a chain, got 5$"),
        (
            "rules.py:fails()",
            r"^rules\.py:22: ZeroDivisionError: division by zero, while rules\.py:fails\(\) made a schedule$",
        ),
        (
            "rules.py:every(many=1)",
            r"^schedule 'rules\.py:every\(many=1\)': got an unexpected keyword argument 'many'; "
            r"it is written rules\.py:every\(part=\.\., budget_bytes=\.\.\)$",
        ),
        ("no_such_package.rules:x()", r"^no_such_package\.rules: no module no_such_package is installed here; "),
        ("networks.nothing:x()", r"^networks\.nothing: no module networks\.nothing is installed here; "),
        ("networks.cache:x()", r"^networks\.cache: has no function x$"),
        ("platform:node()", r"^platform:\d+: platform:node\(\) must return a schedule, a function of a chain, got '"),
    ],
)
def test_a_mistake_is_a_line_with_the_place_and_what_came_back(folder, text, said):
    with pytest.raises(ValueError, match=said) as caught:
        parse_schedule(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"def x(:\n", "rules.py:1: is not Python: invalid syntax"),
        (
            b"x = 1\nimport no_such_module\n",
            "rules.py:2: ModuleNotFoundError: No module named 'no_such_module', while the",
        ),
        (b"def x():\n    pass\nraise SystemExit(3)\n", "rules.py:3: SystemExit: 3, while the file ran"),
        (b"x = 1\n\xff\n", "rules.py:2: is not Python: byte 0xff is not UTF-8"),
        (b"x = '\0'\n", "rules.py:1: is not Python: source code string cannot contain null bytes"),
        (b"#" * (foreign.MOST_BYTES + 1), "rules.py: is too large to be run: it has more than 1,048,576 bytes"),
    ],
)
def test_a_file_that_cannot_be_run_is_told_with_its_line(folder, content, said):
    (folder / "rules.py").write_bytes(content)
    with pytest.raises(ValueError, match="^" + re.escape(said)):
        parse_schedule("rules.py:x()")


def test_an_error_when_it_is_bound_is_told_with_its_line(folder):
    with pytest.raises(ValueError, match=r"^rules\.py:27: KeyError: 'a', while rules\.py:unbound\(\) took a chain$"):
        parse_schedule("rules.py:unbound()")(CHAIN)


def test_a_file_that_is_not_among_those_read_is_not_looked_for(folder):
    with pytest.raises(ValueError, match=r"^rules\.py: its text is not here$"):
        parse_schedule("rules.py:every()", [Source("other.py", "")])


def test_a_network_with_a_stranger_is_copied_and_not_pickled(folder):
    network = NetworkWithCheckpointing([4, 5, 3], schedule=parse_schedule("rules.py:every(3)"))
    assert copy.deepcopy(network).schedule is network.schedule
    with pytest.raises(pickle.PicklingError, match=r"^schedule rules\.py:every\(3\) cannot be pickled: "):
        pickle.dumps(network)
