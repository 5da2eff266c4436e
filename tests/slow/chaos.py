"""`make chaos`: end a run, or its worker, at random moments, and see that nothing is lost, doubled or left behind.

A run is killed, or asked to end by one signal or two. A kill leaves its scratch folder, which the next start removes.
Each signal falls at a moment of the run drawn from a seed, which is printed. The next start goes on in the same folder.
A grid that has come through is compared with an undisturbed run's, to the byte, and begun anew.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from harness.errors import INTERRUPTED
from harness.provenance import ROOT

TEXT = """
title = "Tiny"
measure = ["memory"]
[grid]
layers = ["8,4x3,3"]
batch = [5]
checkpoint_frequency = [2, 3]
"""
KILLS = 50
SIGNALS = (
    (signal.SIGKILL,),
    (signal.SIGTERM,),
    (signal.SIGHUP,),
    (signal.SIGHUP, signal.SIGTERM),
    (signal.SIGTERM, signal.SIGINT),
)


class Grid:
    """A grid of tiny cells in `folder`, run by a copy of the project that nobody edits meanwhile."""

    def __init__(self, folder: Path):
        self._copy = folder / "copy"
        self._experiment = folder / "tiny.toml"
        self.results = folder / "results"
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        for room in ("harness", "networks"):
            shutil.copytree(ROOT / room, self._copy / room, ignore=shutil.ignore_patterns("__pycache__"))
        self._experiment.write_text(TEXT)

    def start(self) -> subprocess.Popen:
        command = [sys.executable, "-m", "harness", "run", str(self._experiment), "--results", str(self.results)]
        environment = {**os.environ, "TMPDIR": str(self.temporary)}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self._copy, env=environment, stdout=pipe, stderr=pipe, text=True)

    def finish(self) -> bytes:
        """Run to the end and return the table."""
        with self.start() as run:
            _, errors = run.communicate()
        assert run.returncode == 0, errors
        left = [path.name for path in self.results.rglob("*") if path.name.endswith(".tmp")]
        left += [path.name for path in self.temporary.iterdir()]
        assert not left, f"left behind: {left}"
        return (self.results / "tiny" / "memory.csv").read_bytes()


def workers_of(process: int) -> list[int]:
    """The workers that `process` has started, whether it still lives or not: they know it by its number."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"harness.worker" in command and str(process).encode() in command:
                found.append(int(entry.name))
    return found


def chaos(folder: Path, *, kills: int, seed: int) -> Counter[str]:
    """Kill `kills` times and return how often whom; AssertionError where that has left a mark."""
    generator = random.Random(seed)
    grid = Grid(folder)
    started = time.monotonic()
    undisturbed = grid.finish()
    seconds = time.monotonic() - started
    shutil.rmtree(grid.results)
    killed: Counter[str] = Counter()
    while killed.total() < kills:
        run = grid.start()
        time.sleep(generator.uniform(0, seconds))
        workers = workers_of(run.pid) if generator.random() < 0.25 else []
        signals = (signal.SIGKILL,) if workers else generator.choice(SIGNALS)
        for victim in workers or [run.pid]:
            for number in signals:
                os.kill(victim, number)
        _, errors = run.communicate()
        assert "Traceback" not in errors, errors
        assert_no_orphan(run.pid)
        if run.returncode == 0 and not workers:  # over before the blow
            assert (grid.results / "tiny" / "memory.csv").read_bytes() == undisturbed
            shutil.rmtree(grid.results)
        else:
            assert workers or run.returncode in (INTERRUPTED, *(-number for number in signals)), errors
            killed["worker" if workers else "run"] += 1
    assert grid.finish() == undisturbed
    return killed


def assert_no_orphan(process: int) -> None:
    deadline = time.monotonic() + 30  # one that was being started ends when it finds its parent dead
    while workers_of(process):
        assert time.monotonic() < deadline, f"orphans of process {process}: {workers_of(process)}"
        time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments = parser.parse_args()
    print(f"{arguments.kills} kills, seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        killed = chaos(Path(folder), kills=arguments.kills, seed=arguments.seed)
    print(f"killed {killed['run']} runs and {killed['worker']} workers; the table is that of an undisturbed run")


if __name__ == "__main__":
    main()
