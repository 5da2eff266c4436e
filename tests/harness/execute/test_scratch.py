"""A worker's scratch folder ends with it; a dead owner's is removed by the next command, and a living one's is not."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness.execute.scratch import PREFIX, scratch
from harness.provenance import ROOT
from tests.support.waiting import is_running, wait_until

HOLD = "from harness.execute.scratch import scratch\nwith scratch() as folder: print(folder, flush=True); input()"


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def hold(temporary):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=ROOT, env={"TMPDIR": str(temporary)}, stdin=-1, stdout=-1, text=True
    )


def test_a_folder_is_ones_own_and_gone_at_the_end(temporary):
    with scratch() as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").touch()
    assert list(temporary.iterdir()) == []


def test_the_folder_of_a_killed_process_is_removed_by_the_next_and_that_of_a_living_one_stays(temporary):
    with hold(temporary) as living, hold(temporary) as killed:
        folders = {living.stdout.readline().strip(), killed.stdout.readline().strip()}
        assert folders == {str(folder) for folder in temporary.iterdir()}
        killed.kill()
        killed.wait()
        with scratch():
            left = [process.poll() for process in (living, killed)]
            assert left == [None, -signal.SIGKILL]
            assert len(list(temporary.iterdir())) == 2
        living.communicate("\n")
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_has_started_is_killed_with_its_folder(temporary):
    dead = temporary / f"{PREFIX}dead"
    dead.mkdir()
    with subprocess.Popen(["sleep", "600"], env={"TMPDIR": str(dead)}, start_new_session=True) as orphan:
        wait_until(lambda: Path(f"/proc/{orphan.pid}/environ").read_bytes())  # which comes a moment after the start
        with scratch():
            assert not dead.exists()
        assert orphan.wait() == -signal.SIGKILL
    wait_until(lambda: not is_running(orphan.pid))


def test_a_planted_link_or_file_is_left_alone(temporary, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "kept").touch()
    (temporary / f"{PREFIX}link").symlink_to(elsewhere)
    (temporary / f"{PREFIX}file").touch()
    with scratch():
        pass
    assert (elsewhere / "kept").exists()
    assert len(list(temporary.iterdir())) == 2
