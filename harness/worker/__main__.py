"""`python -m harness.worker PARENT`: measures one job in this process.

It reads a job as JSON on standard input, and answers with one line of JSON: `{"rows": [[row, ..] for each cell]}` or
`{"error": "one line"}`. The answer goes to the standard output of the start. Everything that a library prints later
goes to standard error. The worker dies with the process PARENT that started it.
"""

import ctypes
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any

from harness.experiment.job import Job, Row
from harness.experiment.measures import MEASURES
from harness.worker import probes

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def function_of(measure: str) -> Callable[[Job], list[list[Row]]]:
    """The function of the measure of this name. Only its module is imported."""
    module, _, function = MEASURES[measure].worker.partition(":")
    return getattr(import_module(f"harness.worker.{module}"), function)


def main() -> int:
    """Read a job from standard input, measure it, and write its rows to standard output. Return 1 if it failed."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answer:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        _die_with_parent(int(sys.argv[1]))
        job = Job.from_request(json.load(sys.stdin))
        result: dict[str, Any]
        try:
            measure = function_of(job.measure)
            gc.freeze()  # later collections skip what the imports have made
            probes.require_one_thread()
            result = {"rows": measure(job)}
        except Exception as error:
            traceback.print_exc()
            result = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        json.dump(result, answer)
    return "error" in result


def _die_with_parent(parent: int) -> None:
    # An orphan would compute beside the next run, and spoil its times.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent was dead before the call
        sys.exit("the process that started this worker has ended")


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # a normal exit of the interpreter takes a fifth of the time of its start
