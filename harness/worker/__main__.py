"""`python -m harness.worker PARENT`: measures one job in this process; the only place that runs a network.

Reads a job as JSON on standard input and answers with one line of JSON: `{"rows": [[row, ..] for each cell]}` or
`{"error": "one line"}`. The answer goes to what was standard output at the start, and everything printed
afterwards, by whatever library, to standard error. It lives no longer than the process PARENT that started it.
"""

import ctypes
import gc
import json
import os
import signal
import sys
import traceback

from harness.experiment.frameworks import packages_of
from harness.experiment.job import Job, Row
from harness.worker import probes
from harness.worker.memory import capture, measure_memory, measure_peers_memory, measure_resident, measure_timeline
from harness.worker.time import measure_peers_time, measure_products, measure_time
from harness.worker.training import measure_training

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def describe_environment(job: Job) -> list[list[Row]]:
    """Not a measurement: what this process runs on, which only it can know."""
    from harness import provenance  # reads of packages what the measures need not wait for

    return [[provenance.place(packages_of(job.settings.get("frameworks", ())))]]


MEASURES = {
    "memory": measure_memory,
    "timeline": measure_timeline,
    "peers_memory": measure_peers_memory,
    "resident": measure_resident,
    "capture": capture,
    "time": measure_time,
    "peers_time": measure_peers_time,
    "training": measure_training,
    "products": measure_products,
    "environment": describe_environment,
}


def main() -> int:
    """Read a job from standard input, measure it, and write its rows to standard output; 1 if it failed."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answer:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        _die_with_parent(int(sys.argv[1]))
        job = Job.from_request(json.load(sys.stdin))
        gc.freeze()  # what the imports have made is no garbage: no collection before a step need look at it
        try:
            probes.require_one_thread()
            result = {"rows": MEASURES[job.measure](job)}
        except Exception as error:
            traceback.print_exc()
            result = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        json.dump(result, answer)
    return "error" in result


def _die_with_parent(parent: int) -> None:
    # An orphan would go on computing beside the run that is started next, and spoil its times.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was dead before that
        sys.exit("the process that started this worker has ended")


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # nothing is left to do: to take the interpreter down takes a fifth of the time of its start
