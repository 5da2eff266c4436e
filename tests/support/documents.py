"""The pages of the documentation: the code they show, and what they show as its output.

Where a ```text block follows a ```python block or one `python -m harness` command, it shows what that prints.

    python -m tests.support.documents    # runs them all, and writes what they print into the pages
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = {str(path.relative_to(ROOT)): path for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))}

_BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```\n(?:```text\n(?P<output>.*?)^```\n)?", re.M | re.S)
_COMMAND = "python -m harness "


class Block(NamedTuple):
    """One block of code and the output shown beneath it, None where there is none."""

    language: str
    code: str
    output: str | None


def blocks(text: str, language: str) -> list[Block]:
    """The blocks of `text` in `language`, in order."""
    return [block for block in map(_block, _BLOCK.finditer(text)) if block.language == language]


def commands(text: str) -> list[Block]:
    """The `python -m harness` commands whose output the page shows."""
    return [block for block in blocks(text, "sh") if block.output is not None]


def outputs_of_python(text: str, page: str) -> Iterator[tuple[Block, str]]:
    """Run the page's Python blocks one after another; yield each with what it prints."""
    namespace: dict = {}
    for block in blocks(text, "python"):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(block.code, page, "exec"), namespace)
        yield block, printed.getvalue()


def output_of_command(command: str) -> str:
    """What a `python -m harness` command prints, run beside the experiments, results and examples of this checkout."""
    if "\n" in command.strip() or not command.startswith(_COMMAND):
        raise ValueError(f"output is shown beneath one command that begins with {_COMMAND!r}, got {command!r}")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("experiments", "results", "examples"):
            Path(folder, name).symlink_to(ROOT / name)
        arguments = [sys.executable, *shlex.split(command)[1:]]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160"}
        done = subprocess.run(arguments, cwd=folder, env=environment, check=False, capture_output=True, text=True)
    # Whom a measurement waits for is told beside what a command prints; a mistake is told there alone.
    return done.stdout + (done.stderr if done.returncode else "")


def lasting(output: str) -> list[list[str]]:
    """The words of each line, without the rules of tables, and without the times that end a row, because they vary."""
    lines = [line.split() for line in output.splitlines() if line.strip(" ─")]
    timed = any(line[-1] == "time" for line in lines)
    return [line[:-1] if timed and re.fullmatch(r"\d+\.\d{3}", line[-1]) else line for line in lines]


def _block(match: re.Match) -> Block:
    return Block(match["language"], match["code"], match["output"])


def _written_anew(text: str, page: str) -> str:
    printed = [(block, output) for block, output in outputs_of_python(text, page) if block.output is not None]
    printed += [(block, output_of_command(block.code)) for block in commands(text)]
    for block, output in printed:
        if lasting(output) != lasting(block.output):
            code = f"```{'python' if block in blocks(text, 'python') else 'sh'}\n{block.code}```\n"
            lines = "".join(f"{line.rstrip()}\n" for line in output.strip("\n").splitlines())
            text = text.replace(f"{code}```text\n{block.output}```\n", f"{code}```text\n{lines}```\n")
    return text


def main() -> None:
    """Write what the pages' code prints into the pages."""
    for page, path in PAGES.items():
        path.write_text(_written_anew(path.read_text(), page))


if __name__ == "__main__":
    main()
