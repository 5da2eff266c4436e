"""Files that are no TOML, or no file that ends: each is one line, and none hangs."""

import codecs
import os

import pytest

from harness.experiment.file import Experiment
from harness.experiment.toml import MOST_BYTES

VALID = 'title = "t→"\nmeasure = ["memory"]\n[grid]\nlayers = ["8,4,3"]\nbatch = [4]\n'


def problem(path) -> str:
    with pytest.raises(ValueError, match=r"tiny\.toml") as caught:
        Experiment.load(path)
    told = str(caught.value)
    assert told.startswith(f"{path}: ")
    assert told.isprintable()
    assert len(told) < len(str(path)) + 400
    return told.removeprefix(f"{path}: ")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tiny.toml"


@pytest.mark.parametrize("content", [VALID.encode(), VALID.replace("\n", "\r\n").encode(), VALID.encode("utf-8-sig")])
def test_a_file_is_read_with_a_byte_order_mark_as_without(path, content):
    path.write_bytes(content)
    assert Experiment.load(path).title == "t→"


@pytest.mark.parametrize(
    "content",
    [VALID.encode("utf-16"), *(VALID.replace("→", "").encode(name) for name in ("utf-16-le", "utf-16-be"))],
)
def test_a_file_in_utf_16_is_named_as_such(path, content):
    path.write_bytes(content)
    assert problem(path) == "is not TOML: it is written in UTF-16; save it as UTF-8"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (VALID.encode("utf-8") + b"# \xe9t\xe9", "is not TOML: line 6: byte 0xe9 is not UTF-8; save it as UTF-8"),
        (codecs.BOM_UTF8[:2], "is not TOML: line 1: byte 0xef is not UTF-8; save it as UTF-8"),
        (b"grid = " + b"[" * 100_000, "is not TOML: it is nested too deeply"),
        (b"grid = " + b"{a=" * 40_000, "is not TOML: it is nested too deeply"),
        (b"title = 1\nseed = [" + b"9" * 5000 + b"]", f"line 2: an integer is at most {2**63 - 1}, got 99999999"),
        (b"title = 1\nseed = [" + b"9_" * 5000 + b"9]", f"line 2: an integer is at most {2**63 - 1}, got 9_9_9_9_"),
        (b"seed = 0x" + b"f" * 5000, "title: is missing"),
        (b"title = '\0'", "is not TOML: "),
        (b"title = 1\ntitle = 2", "is not TOML: Cannot overwrite a value"),
        (
            b"a = {" + b"b" * 10_000 + b" = 1, " + b"b" * 10_000 + b" = 2}",
            "is not TOML: Duplicate inline table key 'bbb",
        ),
        (b"\n" + b"a." * 50_000 + b"a = 1", "is not an experiment: line 2 has more than 1,000 dots"),
        (b"\n[" + b"a." * 50_000 + b"a]", "is not an experiment: line 2 has more than 1,000 dots"),
        (b"\n" * (MOST_BYTES + 1), "is not an experiment: it has more than 131,072 bytes"),
    ],
)
def test_what_is_no_toml_is_one_line(path, content, said):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"tiny\.toml") as caught:
        Experiment.load(path)
    first, *_ = str(caught.value).splitlines()
    assert first.startswith(f"{path}: {said}")
    assert first.isprintable()
    assert len(first) < len(str(path)) + 400


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_may_never_end_is_not_read(path, make):
    make(path)
    assert problem(path) == "it is not a regular file; save the experiment in one"


def test_a_table_nested_without_brackets_is_shown_in_part(path):
    path.write_text(f"{VALID}[{'.'.join(['a'] * 1000)}]\n[limits.timeout.{'.'.join(['a'] * 990)}]\n")
    with pytest.raises(ValueError, match=r"tiny\.toml") as caught:
        Experiment.load(path)
    timeout, a = str(caught.value).splitlines()
    assert timeout.startswith(f"{path}: limits.timeout: must be a number of seconds")
    assert a.startswith(f"{path}: a: is not a key here")
    assert max(len(timeout), len(a)) < len(str(path)) + 400
