"""Where a result comes from: machine, versions, code. Never a host's name, a user's name or a path."""

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

ROOT = Path(__file__).resolve().parent.parent

MEASURED_CODE = (
    "networks",
    "harness/worker",
    "harness/experiment/cell.py",
    "harness/experiment/prediction.py",
    "harness/results/rows.py",
)
NOT_MEASURED = (
    *("networks/planning", "networks/schedules", "networks/__init__.py"),
    *("networks/torch_models", "networks/block_chain.py", "harness/worker/models"),
)
OF_ALL_SCHEDULES = tuple(f"networks/schedules/{name}.py" for name in ("spec", "foreign", "portable"))
"""The rooms, and the files of other rooms, that decide what any row says. Planning chooses a schedule, and a cell names
its own. No cell runs a PyTorch model of the user's. `__init__` gathers names and has the version, so a release leaves
results as they are. The files of a schedule count for the cells that run it, as `harness.experiment.schedule_code`
tells them."""

MEASURED_WITH = ("numpy", "memray", "scikit-learn", "threadpoolctl")
DRAWN_WITH = ("pandas", "scipy", "matplotlib", "seaborn")

CPU_INFO = Path("/proc/cpuinfo")
GIT_SECONDS = 10
"""How long git may take to answer a question."""


def machine(packages: Iterable[str] = ()) -> dict[str, Any]:
    """What a measurement depends on beside the code and the settings, as seen from the process that measures.

    BLAS libraries are described as they are loaded there: kernel architecture and number of threads included. The
    versions of other `packages` are added, None where one is not installed.
    """
    libraries = ({key: value for key, value in library.items() if key != "filepath"} for library in threadpool_info())
    return {
        "cpu": _cpu_model(),
        "architecture": platform.machine(),
        "os": f"{platform.system()} {platform.release().partition('-')[0]}",
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        **versions(MEASURED_WITH),
        **versions(packages),
        "blas": [dict(sorted(library.items())) for library in libraries],
    }


def place(packages: Iterable[str] = ()) -> dict[str, Any]:
    """The machine, and which one of its kind it is."""
    return {"machine": machine(packages), "machine_id": machine_id()}


def machine_id() -> str:
    """A name for this installation of the operating system that tells nothing about it; empty where it has none.

    It keeps two machines of one model apart in the keys of finished cells, and is not published.
    """
    try:
        identity = Path("/etc/machine-id").read_bytes()
    except OSError:
        return ""
    return hashlib.sha256(b"checkpointing-lab" + identity).hexdigest()


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """The version of each package, without importing it; None where one is not installed."""
    return {package: _version(package) for package in packages}


def are_installed(packages: Iterable[str]) -> bool:
    """Whether this environment has all of these packages; none is imported."""
    return all(versions(packages).values())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def code_sha256() -> str:
    """A hash of the code that every row comes from: what is measured, what measures it, and what makes a row of that.

    The code of schedules is not in it.
    """
    paths = (path for name in MEASURED_CODE for path in [ROOT / name, *sorted((ROOT / name).rglob("*.py"))])
    unmeasured = {ROOT / name for name in NOT_MEASURED}
    files = [path for path in paths if path.is_file() and unmeasured.isdisjoint([path, *path.parents])]
    files += [ROOT / name for name in OF_ALL_SCHEDULES]
    return sha256_of({file.relative_to(ROOT).as_posix(): file for file in files})


def sha256_of(files: Mapping[str, Path]) -> str:
    """A hash of the names and the contents of files, which are read again once a time or a size has changed."""
    stats = ((name, file, file.stat()) for name, file in files.items())
    return _sha256(tuple((name, file, stat.st_mtime_ns, stat.st_size) for name, file, stat in stats))


@lru_cache(maxsize=64)  # a run asks after each job
def _sha256(stamped: tuple[tuple[str, Path, int, int], ...]) -> str:
    content = hashlib.sha256()
    for name, file, _, _ in stamped:
        content.update(f"{name}\0".encode() + file.read_bytes() + b"\0")
    return content.hexdigest()


class _UnknownCommitError(Exception):
    """Says why it is not known which commit is checked out."""


def commit() -> dict[str, Any]:
    """The commit that is checked out and whether anything but results differs from it.

    Both are None where that is unknown, and `commit_unknown` says why: a run is not lost by a git that fails.
    """
    try:
        if _git("rev-parse", "--show-toplevel") != str(ROOT):
            raise _UnknownCommitError("the code is not at the top of its git repository")
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
        return {"commit": _git("rev-parse", "HEAD"), "dirty": bool(changes)}
    except _UnknownCommitError as error:
        return {"commit": None, "dirty": None, "commit_unknown": str(error)}


def _git(*arguments: str) -> str:
    """What git answers about the code's own repository, whichever one the caller's variables name."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=ROOT,
            env={**environment, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_SECONDS,
        )
    except OSError as error:
        raise _UnknownCommitError(f"git cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise _UnknownCommitError(f"git did not answer within {GIT_SECONDS} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        told = re.sub(r"'/[^']*'|/\S*", "(a path)", said)  # which would name a user
        raise _UnknownCommitError(f"git exited with {done.returncode}: {told}".removesuffix(": "))
    return os.fsdecode(done.stdout).strip()


def _cpu_model() -> str:
    try:
        lines = CPU_INFO.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
