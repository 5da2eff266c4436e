"""A set of tables is read whole or not at all: while others are published, after a kill, and after an edit."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness.commands.command_line import app
from harness.experiment.job import Job, Outcome
from harness.provenance import ROOT
from harness.results import folder as folder_module
from harness.results.datapackage import listed_tables
from harness.results.folder import parse_environment, read_results
from harness.results.rows import rows_of
from harness.results.store import Store
from tests.support.cells import ENVIRONMENT, answer, store_all_cell

COMMANDS = {
    "plot": lambda folder: ["plot", folder],
    "compare": lambda folder: ["compare", ROOT / "results/growth", folder],
    "verify": lambda folder: ["verify", folder],
    "flamegraph": lambda folder: ["flamegraph", "0", "--results", folder],
    "peers": lambda folder: ["peers", folder],
}
"""Every command that reads tables."""


def tables_of(seed: int) -> dict[str, list[dict[str, object]]]:
    jobs = (Job(measure=name, cells=(store_all_cell("8,4x3,3", batch=5 + seed),)) for name in ("memory", "time"))
    return {job.measure: rows_of(job, Outcome(answer(job))) for job in jobs}


def publish(folder: Path, seed: int) -> list[Path]:
    return Store(folder).publish(tables_of(seed), ENVIRONMENT | {"machine": {"seed": seed}})


@pytest.fixture
def folder(tmp_path) -> Path:
    publish(tmp_path / "tiny", 0)
    return tmp_path / "tiny"


def complaint(folder: Path) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read_results(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_set_is_read_as_it_was_published(folder):
    results = read_results(folder)
    assert results.environment.origin.machine == {"seed": 0}
    assert results.contents == {name: (folder / f"{name}.csv").read_bytes() for name in ("memory", "time")}
    assert list(results.tables()) == ["memory", "time"]
    assert list(results.tables(["time", "training"])) == ["time"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_a_table_that_was_edited(folder, command):
    table = folder / "time.csv"
    table.write_bytes(table.read_bytes().replace(b"0.75", b"0.76"))
    result = CliRunner().invoke(app, list(map(str, COMMANDS[command](folder))))
    said = (
        f"{table}: is not what a run wrote: its hash is not that in datapackage.json; put it back as it was, or run "
        "the experiment again with --replace\n"
    )
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", said)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_a_set_that_a_kill_has_torn(folder, monkeypatch, command):
    monkeypatch.setattr(folder_module, "PAUSE_SECONDS", 0)
    (folder / "environment.json").unlink()
    result = CliRunner().invoke(app, list(map(str, COMMANDS[command](folder))))
    said = (
        f"{folder}: holds no complete set of results: a run is publishing it, or was killed while it did; run the "
        "experiment again\n"
    )
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", said)


def test_a_table_that_no_run_wrote_is_not_read(folder):
    (folder / "training.csv").write_text("mine")
    assert list(read_results(folder).tables()) == ["memory", "time"]


def test_a_part_of_another_set_is_told(folder, tmp_path):
    publish(tmp_path / "other", 1)
    for name in ("memory.csv", "datapackage.json", "environment.json"):
        own = (folder / name).read_bytes()
        (folder / name).write_bytes((tmp_path / "other" / name).read_bytes())
        blamed, by = (
            ("memory.csv", "datapackage.json") if name == "memory.csv" else ("datapackage.json", "environment.json")
        )
        assert complaint(folder).startswith(
            f"{folder / blamed}: is not what a run wrote: its hash is not that in {by};"
        )
        (folder / name).write_bytes(own)
    read_results(folder)


@pytest.mark.parametrize("moment", range(3))
def test_a_publication_between_any_two_files_is_noticed_and_the_new_set_read(folder, monkeypatch, moment):
    monkeypatch.setattr(folder_module, "PAUSE_SECONDS", 0)
    real, read = folder_module.read_regular, []

    def read_and_publish(path):
        content = real(path)
        read.append(path.name)
        if len(read) == moment + 1:
            publish(folder, 1)
            publish(folder, 0)
            publish(folder, 2)
        return content

    monkeypatch.setattr(folder_module, "read_regular", read_and_publish)
    results = read_results(folder)
    assert read == [*["datapackage.json", "memory.csv", "time.csv"][: len(read) - 3], *read[-3:]]
    assert results.environment.machine == {"seed": 2}
    assert {table["batch"].item() for table in [results.tables()["memory"]]} == {7}


def test_a_set_that_is_the_same_again_was_published_all_the_same(folder, monkeypatch):
    """The name is that of another file, whatever it holds: what was read beside the first may be of a third set."""
    monkeypatch.setattr(folder_module, "PAUSE_SECONDS", 0)
    real, read = folder_module.read_regular, []

    def publish_before(path):
        if not read:
            publish(folder, 1)
            package = real(path)
            publish(folder, 0)
        read.append(path.name)
        return package if len(read) == 1 else real(path)

    monkeypatch.setattr(folder_module, "read_regular", publish_before)
    assert read_results(folder).environment.machine == {"seed": 0}
    assert read.count("datapackage.json") == 2


def test_no_reader_mixes_two_sets_while_a_process_publishes_one_after_another(tmp_path, monkeypatch):
    code = (
        "import os, sys, time; from pathlib import Path; from harness.results import schemas\n"
        "from tests.harness.results.test_folder import publish\n"
        "schemas.parse_table = lambda *arguments, **options: None\n"
        "os.fsync = lambda descriptor: None\n"
        "for number in range(100): publish(Path(sys.argv[1]), number % 2); print(flush=True); time.sleep(0.02)\n"
    )
    path = str(ROOT)
    command = [sys.executable, "-c", code, str(tmp_path / "tiny")]
    expected = {}
    for seed in (0, 1):
        publish(tmp_path / str(seed), seed)
        expected[seed] = read_results(tmp_path / str(seed)).contents
    real = folder_module.read_regular
    monkeypatch.setattr(folder_module, "read_regular", lambda path: [time.sleep(0.005), real(path)][1])  # a slow disk
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}) as publisher:
        publisher.stdout.readline()
        while publisher.poll() is None:
            try:
                results = read_results(tmp_path / "tiny")
            except ValueError as error:
                assert "holds no complete set of results" in str(error)  # noqa: PT017
            else:
                assert results.contents == expected[results.environment.machine["seed"]]
    assert publisher.returncode == 0
    assert read_results(tmp_path / "tiny").contents == expected[1]


DAMAGED = {
    "nothing": b"",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "UTF-16": "{}".encode("utf-16"),
    "no text": b"\xff",
}


@pytest.mark.parametrize("name", ["environment.json", "datapackage.json"])
@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_one_line_with_its_name(folder, name, content):
    environment = json.loads((folder / "environment.json").read_bytes())
    del environment["datapackage_hash"]  # as in what earlier versions wrote
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / name).write_bytes(content)
    assert complaint(folder).startswith(f"{folder / name}: is not what a run wrote: ")


@pytest.mark.parametrize("name", ["environment.json", "datapackage.json", "memory.csv"])
def test_what_is_no_file_is_not_waited_for(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert "it is not a regular file" in complaint(folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    assert "cannot be read (Is a directory)" in complaint(folder)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"experiment": None}, "experiment must be a table, got None"),
        (
            {"experiment": ENVIRONMENT["experiment"] | {"figures": [["growth"]]}},
            "experiment.figures.0 must be text, got ",
        ),
        (
            {"experiment": ENVIRONMENT["experiment"] | {"figures": "growth"}},
            "experiment.figures must be a list, got 'gro",
        ),
        ({"experiment": {}}, "experiment.name is missing"),
        (
            {"experiment": ENVIRONMENT["experiment"] | {"chains": ["8,4,3"]}},
            "experiment.chains must be a table, got ['8,4,3']",
        ),
        (
            {"experiment": ENVIRONMENT["experiment"] | {"chains": {"slim\n\\input{notes}": "8,4,3"}}},
            "experiment.chains: a name must begin with a letter ",
        ),
        (
            {"experiment": ENVIRONMENT["experiment"] | {"chains": {"slim": "8,4y,3"}}},
            "experiment.chains.slim: layers '8,4y,3': '4y' is not a width",
        ),
        ({"code": {"sha256": 1}}, "code.sha256 must be text, got 1"),
        ({"machine": [1]}, "machine must be a table, got [1]"),
        ({"variables": {"memory": {"A": 1}}}, "variables.memory.A must be text, got 1"),
        ({"variables": {"memory": {"a\x1b[2J": 1}}}, "'variables.memory.a\\x1b[2J' must be text, got 1"),
        ({"variables": {"memory": {"a" * 3000: 1}}}, f"variables.memory.{'a' * 103}...{'a' * 60} must be text, got 1"),
        ({"variables": {"memory": []}}, "variables.memory must be a table, got []"),
        ({"datapackage_hash": 1}, "datapackage_hash must be text, got 1"),
    ],
)
def test_an_environment_of_another_shape_names_the_place_and_the_value(change, line):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_environment(json.dumps(ENVIRONMENT | change).encode())
    assert str(caught.value).startswith(line)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("parse", [parse_environment, listed_tables])
@given(content=st.binary() | VALUES.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_read_is_understood_or_a_value_error(parse, content):
    try:
        parse(content)
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017


@given(st.sampled_from([*ENVIRONMENT, "datapackage_hash"]), VALUES)
def test_whatever_stands_in_an_environment_is_understood_or_a_value_error(name, value):
    try:
        parse_environment(json.dumps(ENVIRONMENT | {name: value}).encode())
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017


@given(st.sampled_from(["name", "path", "hash"]), VALUES | st.just("../../memory"))
def test_a_data_package_names_no_file_but_the_tables(name, value):
    resource = {"name": "memory", "path": "memory.csv", "hash": "sha256:0"}
    content = json.dumps({"resources": [resource | {name: value}]}).encode()
    try:
        listed = listed_tables(content)
    except ValueError:
        assert name != "hash" or not isinstance(value, str)
    else:
        assert listed.keys() == {"memory"}
