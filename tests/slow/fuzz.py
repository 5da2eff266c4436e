"""`make fuzz`: a million inputs that are nearly right over the readers of experiments, schedules and results.

Each is accepted, or refused by a ValueError of this project whose lines can be printed and read. Anything else is told
with the input, and so is an input that takes long.
"""

import argparse
import json
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.experiment.file import Experiment
from harness.experiment.job import Job, Outcome
from harness.experiment.limits import NO_LIMITS, Limits
from harness.experiment.measures import TABLES
from harness.experiment.prediction import trace_of
from harness.provenance import ROOT
from harness.results.datapackage import listed_tables
from harness.results.folder import parse_environment
from harness.results.origin import Origin
from harness.results.records import Record, format_record, parse_record
from harness.results.rows import rows_of
from harness.results.schemas import parse_table
from networks.schedules.spec import is_strange, parse_schedule
from tests.slow.mutations import mutated
from tests.support.cells import answer, store_all_cell

INPUTS = 1_000_000
SHARES = {"experiment": 0.245, "schedule": 0.60, "record": 0.11, "environment": 0.02, "package": 0.02, "table": 0.005}
"""The parts of the inputs that the readers see: a table takes a hundred times as long as a schedule."""

IN_MEMORY = next((folder for folder in ("/dev/shm",) if Path(folder).is_dir()), None)
"""A folder whose files are in no disk's way; None where there is none."""

LONGEST_SECONDS = 10
MOST_CHARACTERS, MOST_LINES = 1_000, 21
SHALLOW, FEW = 12, 40

EXPERIMENTS = (
    """title = "All keys"
description = "d"
measure = ["memory", "timeline", "resident", "time", "training"]
figures = ["growth", "timeline", "training_curves"]
[grid]
layers = ["64,8x3,10"]
batch = [4, 6]
dtype = ["float32"]
activation = ["relu"]
network = ["Network", "NetworkWithCheckpointing"]
checkpoint_frequency = [3]
recompute = ["segment", "each"]
schedule = ["revolve(slots=3)", "evicting(budget_bytes=90000, heuristic='lru')"]
step = ["backward", "train_step"]
micro_batch = [2]
seed = [7]
[time]
repeats = 20
order_seed = 1
[resident]
repeats = 2
[training]
epochs = 2
learning_rate = 0.5
momentum = 0.9
[limits]
timeout = 60
memory_limit = "2GiB"
""",
    """title = "Peers"
measure = ["peers_memory", "resident", "peers_time"]
[[grid]]
layers = ["8,4x3,3"]
batch = [5]
peer = ["torch.store-all", "jax.scan_checkpoint"]
[[grid]]
layers = ["8,4x4,3"]
batch = [5]
schedule = ["optimal(budget_bytes=100000)", "greedy(budget_bytes=100000)"]
[peers_time]
seconds = 2.5
""",
)
SCHEDULES = (
    *("store_all()", "sqrt()", "periodic(3)", "periodic(3, recompute='each')", "revolve(slots=4)"),
    *("greedy(budget_bytes=5000)", "optimal(budget_bytes=5000)", "evicting(budget_bytes=5000, heuristic='dtr')"),
)


@dataclass
class Tally:
    """What a reader made of its inputs; of inputs that failed in one place, the first."""

    accepted: int = 0
    refused: int = 0
    failures: dict[str, str] = field(default_factory=dict)

    def feed(self, read: Callable[[bytes], object], content: bytes) -> None:
        started = time.perf_counter()
        try:
            read(content)
            self.accepted += 1
        except Exception as error:
            self.refused += 1
            if objection := _objection(error):
                place = traceback.extract_tb(error.__traceback__)[-1]
                self._fail(f"{objection}, from {place.filename}:{place.lineno}", content)
        if time.perf_counter() - started > LONGEST_SECONDS:
            self._fail(f"took {time.perf_counter() - started:.0f} s", content)

    def _fail(self, how: str, content: bytes) -> None:
        self.failures.setdefault(
            how, repr(content) if len(content) < 5_000 else f"{content[:2_000]!r}...{content[-500:]!r}"
        )


def _objection(error: Exception) -> str:
    """What is wrong with `error` as an answer to a bad input; empty where nothing is."""
    if type(error) is not ValueError and not (
        isinstance(error, ValueError) and type(error).__module__.startswith("harness")
    ):
        return f"{type(error).__name__}: {str(error)[:300]}"
    lines = str(error).split("\n")
    if len(lines) > MOST_LINES or any(not line.isprintable() or len(line) > MOST_CHARACTERS for line in lines):
        return f"a message of {len(lines)} lines that nobody reads: {str(error)[:300]!r}"
    return ""


def readers(folder: Path) -> dict[str, tuple[Callable[[bytes], object], list[bytes]]]:
    """For each of `SHARES` what reads an input, and inputs that are valid; files lie in `folder`."""
    tables = {path.stem.encode(): path for path in sorted(ROOT.glob("results/*/*.csv")) if path.stem in TABLES}
    headed = [b"%s\n%s" % (name, b"".join(path.read_bytes().splitlines(True)[:8])) for name, path in tables.items()]
    return {
        "experiment": (_experiment_reader(folder), [text.encode() for text in EXPERIMENTS]),
        "schedule": (
            lambda content: _read_schedule(content.decode("utf-8", "surrogateescape")),
            [*map(str.encode, SCHEDULES)],
        ),
        "record": _record_reader(),
        "environment": (_of_a_file(parse_environment), _committed("environment.json")),
        "package": (_of_a_file(listed_tables), _committed("datapackage.json")),
        "table": (_read_table, headed),
    }


def _of_a_file(parse: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """A parser whose complaints, of whatever kind of ValueError, are told with a file's name, as all its callers do."""

    def read(content: bytes) -> object:
        try:
            return parse(content)
        except ValueError as error:
            raise ValueError(f"file: {error}") from error

    return read


def _committed(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(ROOT.glob(f"results/*/{name}"))]


def _experiment_reader(folder: Path) -> Callable[[bytes], object]:
    path = folder / "experiment.toml"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        experiment = Experiment.load(path, bind=False)
        cells = experiment.cells()
        if max(cell.depth for cell in cells) > SHALLOW or len(cells) > FEW:  # to try its schedules would take long
            return
        for job in Experiment.load(path).jobs():
            assert Job.from_request(json.loads(json.dumps(job.request()))) == job
        for cell in cells[-3:]:
            trace = trace_of(cell.store_all if cell.peer else cell)
            assert max(trace.peak_bytes, trace.forward_flops) < 2**63

    return read


def _read_schedule(text: str) -> None:
    if not is_strange(text):  # a mutation may name a module, whose code nobody wants to run
        parse_schedule(text)


def _record_reader() -> tuple[Callable[[bytes], object], list[bytes]]:
    """Half of the inputs are sealed, as if a run had written them, and half are files as they are."""
    job = Job(measure="memory", cells=(store_all_cell("8,4,3", batch=5),))
    limits = Limits(timeout=60, memory_limit=2**31)
    origin = Origin(
        code="0" * 16, schedules={"sqrt": "1" * 16}, machine={"cpu": "c"}, machine_id="i", variables={"A": "1"}
    )
    record = Record(rows=rows_of(job, Outcome(answer(job))), log="l", limits=limits, origin=origin)
    failed = replace(record, rows=rows_of(job, Outcome(None, "killed")))
    files = [format_record(one, job) for one in (record, failed)]
    parts = [b"sealed" + json.dumps(json.loads(file)["record"]).encode() for file in files]

    def read(content: bytes) -> None:
        if content.startswith(b"sealed"):
            with suppress(ValueError, TypeError, RecursionError):  # what cannot be sealed is read as it is
                members = json.loads(content.removeprefix(b"sealed"))
                content = format_record(replace(record, **members), job)
        found = parse_record(content, job)
        NO_LIMITS.settle(found.rows[0]["status"], found.limits)
        found.origin.differences(origin)

    return _of_a_file(read), [*files, *parts]


def _read_table(content: bytes) -> None:
    name, _, rows = content.partition(b"\n")
    parse_table(name.decode() if name.decode("ascii", "replace") in TABLES else "memory", rows, where="table.csv")


def fuzz(inputs: Mapping[str, int], *, seed: int) -> dict[str, Tally]:
    """Feed each reader so many inputs; the same for the same seed."""
    tallies = {}
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder, warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, (read, valid) in readers(Path(folder)).items():
            generator, tallies[name] = random.Random(f"{seed} {name}"), Tally()
            for content in valid if inputs.get(name) else ():
                read(content)
            for _ in range(inputs.get(name, 0)):
                tallies[name].feed(read, mutated(generator, valid))
    return tallies


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=INPUTS)
    parser.add_argument("--reader", choices=SHARES, action="append", help="only this one")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments = parser.parse_args()
    shares = {name: SHARES[name] for name in arguments.reader or SHARES}
    inputs = {name: round(arguments.inputs * share / sum(shares.values())) for name, share in shares.items()}
    print(f"{arguments.inputs:,} inputs, seed {arguments.seed}", flush=True)
    failures = Counter()
    for name, count in inputs.items():
        started = time.monotonic()
        tally = fuzz({name: count}, seed=arguments.seed)[name]
        seconds = time.monotonic() - started
        print(
            f"{name}: {count:,} inputs, {tally.accepted:,} accepted, {tally.refused:,} refused, {seconds:.0f} s",
            flush=True,
        )
        for how, content in tally.failures.items():
            print(f"  {how}\n    {content}")
            failures[name] += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
