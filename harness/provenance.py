"""The origin of a result: machine, versions, code. It has no name of a host or user, and no path."""

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
"""The folders and files that decide the content of every row, except for `NOT_MEASURED`."""
NOT_MEASURED = (
    *("networks/planning", "networks/schedules", "networks/__init__.py"),
    *("networks/torch_models", "networks/block_chain.py", "harness/worker/models"),
)
"""The parts of `MEASURED_CODE` that do not decide every row.

- Planning: a cell names its schedule.
- The code of users' PyTorch models: no network runs it.
- The `__init__` of `networks`: it has the version and the exports, which change no result.
- Schedules: the files of a schedule count only for the cells that run it. See `harness.experiment.schedule_code`.
"""
OF_ALL_SCHEDULES = tuple(f"networks/schedules/{name}.py" for name in ("spec", "foreign", "portable"))
"""The files of all schedules, which decide every row. They make schedules from text, find those of others, and copy
them."""

MEASURED_WITH = ("numpy", "memray", "scikit-learn", "threadpoolctl")
DRAWN_WITH = ("pandas", "scipy", "matplotlib", "seaborn")

CPU_INFO = Path("/proc/cpuinfo")
GIT_SECONDS = 10
"""The time limit of a call of git."""


def machine(packages: Iterable[str] = ()) -> dict[str, Any]:
    """The machine and versions that a measurement depends on, as the measuring process sees them.

    BLAS libraries are described as they are loaded, with kernel architecture and number of threads. Versions of other
    `packages` are added. None is the version of a package that is not installed.
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
    """The machine, and an id that tells machines of one kind apart."""
    return {"machine": machine(packages), "machine_id": machine_id()}


def machine_id() -> str:
    """An anonymous name for this installation of the operating system. Empty if it has no id.

    It tells two machines of one kind apart in records of finished cells. It is not published.
    """
    try:
        identity = Path("/etc/machine-id").read_bytes()
    except OSError:
        return ""
    return hashlib.sha256(b"checkpointing-lab" + identity).hexdigest()


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """The version of each package, without importing it. None if it is not installed."""
    return {package: _version(package) for package in packages}


def are_installed(packages: Iterable[str]) -> bool:
    """Whether this environment has all of these packages. None is imported."""
    return all(versions(packages).values())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def code_sha256() -> str:
    """A hash of the code that every row depends on: the measured code, the measuring code, and the code of rows.

    It does not include the code of schedules.
    """
    paths = (path for name in MEASURED_CODE for path in [ROOT / name, *sorted((ROOT / name).rglob("*.py"))])
    unmeasured = {ROOT / name for name in NOT_MEASURED}
    files = [path for path in paths if path.is_file() and unmeasured.isdisjoint([path, *path.parents])]
    files += [ROOT / name for name in OF_ALL_SCHEDULES]
    return sha256_of({file.relative_to(ROOT).as_posix(): file for file in files})


def sha256_of(files: Mapping[str, Path]) -> str:
    """A hash of the names and contents of files. They are read again if a time or a size has changed."""
    stats = ((name, file, file.stat()) for name, file in files.items())
    return _sha256(tuple((name, file, stat.st_mtime_ns, stat.st_size) for name, file, stat in stats))


@lru_cache(maxsize=64)  # a run calls it after each job
def _sha256(stamped: tuple[tuple[str, Path, int, int], ...]) -> str:
    content = hashlib.sha256()
    for name, file, _, _ in stamped:
        content.update(f"{name}\0".encode() + file.read_bytes() + b"\0")
    return content.hexdigest()


class _UnknownCommitError(Exception):
    """Says why the current commit is unknown."""


def commit() -> dict[str, Any]:
    """The current commit, and whether files other than results differ from it.

    If git fails, both are None, and `commit_unknown` says why. So a run does not fail with git.
    """
    try:
        if _git("rev-parse", "--show-toplevel") != str(ROOT):
            raise _UnknownCommitError("the code is not at the top of its git repository")
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
        return {"commit": _git("rev-parse", "HEAD"), "dirty": bool(changes)}
    except _UnknownCommitError as error:
        return {"commit": None, "dirty": None, "commit_unknown": str(error)}


def _git(*arguments: str) -> str:
    """The answer of git about the code's own repository. Variables of the caller cannot name another one."""
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
        told = re.sub(r"'/[^']*'|/\S*", "(a path)", said)  # a path may name a user
        raise _UnknownCommitError(f"git exited with {done.returncode}: {told}".removesuffix(": "))
    return os.fsdecode(done.stdout).strip()


def _cpu_model() -> str:
    try:
        lines = CPU_INFO.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
