"""Which commit a result is of: this project's own, or none, with the reason why."""

import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from harness import provenance


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", folder, "-c", "user.name=A", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def repository(folder: Path) -> Path:
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "file").write_text("one")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", f"Begin {folder.name}")
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The folder of the code, which is a repository."""
    folder = repository(tmp_path.resolve() / "project")
    monkeypatch.setattr(provenance, "ROOT", folder)
    return folder


def pretend_git(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, mode: int = 0o755) -> None:
    """Let `git` be this shell script."""
    (folder / "bin").mkdir()
    (folder / "bin/git").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin/git").chmod(mode)
    monkeypatch.setenv("PATH", f"{folder}/bin")


def test_the_commit_is_the_projects_own_and_dirty_once_a_file_differs(project):
    head = git(project, "rev-parse", "HEAD")
    assert provenance.commit() == {"commit": head, "dirty": False}
    (project / "file").write_text("two")
    assert provenance.commit() == {"commit": head, "dirty": True}


def test_asking_writes_nothing_into_the_repository(project):
    index = project / ".git/index"
    (project / "file").touch()  # the index would be refreshed
    before = index.read_bytes()
    provenance.commit()
    assert index.read_bytes() == before


@pytest.mark.parametrize("variable", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_CONFIG"])
def test_variables_of_git_lead_to_no_other_repository(project, tmp_path, monkeypatch, variable):
    other = repository(tmp_path / "other")
    places = {"GIT_WORK_TREE": other, "GIT_INDEX_FILE": other / ".git/index", "GIT_CONFIG": other / ".git/config"}
    monkeypatch.setenv(variable, str(places.get(variable, other / ".git")))
    assert provenance.commit() == {"commit": git_of(project), "dirty": False}


def git_of(folder: Path) -> str:
    return (folder / ".git" / (folder / ".git/HEAD").read_text().split()[1]).read_text().strip()


def test_both_variables_together_lead_to_no_other_repository(project, tmp_path, monkeypatch):
    other = repository(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(project))
    assert provenance.commit()["commit"] == git_of(project)


def unknown(reason: str) -> dict[str, object]:
    return {"commit": None, "dirty": None, "commit_unknown": reason}


def test_without_git_the_commit_is_unknown(project, monkeypatch):
    monkeypatch.setenv("PATH", str(project))
    assert provenance.commit() == unknown("git cannot be run: No such file or directory")


def test_with_a_git_that_is_not_executable_the_commit_is_unknown(project, monkeypatch):
    pretend_git(project, monkeypatch, "exit 0", mode=0o644)
    assert provenance.commit() == unknown("git cannot be run: Permission denied")


def test_a_git_that_hangs_is_not_waited_for(project, monkeypatch):
    monkeypatch.setattr(provenance, "GIT_SECONDS", 0.2)
    pretend_git(project, monkeypatch, f"exec {shutil.which('sleep')} 60")
    started = time.monotonic()
    assert provenance.commit() == unknown("git did not answer within 0.2 s")
    assert time.monotonic() - started < 30


def test_dubious_ownership_is_told_without_a_path(project, monkeypatch):
    script = f"echo \"fatal: detected dubious ownership in repository at '{project}'\" >&2; echo more >&2; exit 128"
    pretend_git(project, monkeypatch, script)
    said = "git exited with 128: fatal: detected dubious ownership in repository at (a path)"
    assert provenance.commit() == unknown(said)


def test_a_git_that_fails_without_a_word_is_told(project, monkeypatch):
    pretend_git(project, monkeypatch, "exit 3")
    assert provenance.commit() == unknown("git exited with 3")


def test_code_from_a_tarball_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path.resolve())
    reason = provenance.commit()["commit_unknown"]
    assert reason.startswith("git exited with 128: fatal: not a git repository")
    assert "/" not in reason


def test_code_within_another_repository_has_no_commit(project, monkeypatch):
    (project / "vendored").mkdir()
    monkeypatch.setattr(provenance, "ROOT", project / "vendored")
    assert provenance.commit() == unknown("the code is not at the top of its git repository")


def test_a_repository_without_a_commit_is_told(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q")
    monkeypatch.setattr(provenance, "ROOT", tmp_path.resolve())
    assert provenance.commit()["commit_unknown"].startswith("git exited with 128: fatal: ")


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    def absent(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(provenance, "version", absent)
    assert provenance.versions(("pandas", "scipy")) == {"pandas": None, "scipy": None}
    assert provenance.machine()["memray"] is None


def test_a_processors_name_is_read_whatever_its_bytes_are(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_bytes(b"model name\t: Caf\xe9 CPU\n")
    monkeypatch.setattr(provenance, "CPU_INFO", tmp_path / "cpuinfo")
    assert provenance.machine()["cpu"] == "Caf\N{REPLACEMENT CHARACTER} CPU"
