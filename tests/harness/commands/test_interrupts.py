"""Signals: each command ends in order, with 130 and nothing left; a second one disturbs nothing and always ends it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from harness.provenance import ROOT
from tests.slow.chaos import TEXT, workers_of
from tests.support.waiting import wait_until

COMMAND = """
import signal, sys, time
from harness.errors import end_at_once, run_in_order
end_at_once()
def command():
    try:
        print("begun", flush=True)
        time.sleep(600)
    finally:
        print("in order", flush=True)
        time.sleep({seconds})
        print("done", flush=True)
run_in_order(command)
"""


def start(command, *, folder=None, before=None):
    environment = {**os.environ, **({"TMPDIR": str(folder)} if folder else {})}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=-1, stderr=-1, text=True, bufsize=1, preexec_fn=before
    )


def run_command(seconds, *, before=None):
    process = start([sys.executable, "-c", COMMAND.format(seconds=seconds)], before=before)
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize(
    "signals",
    [
        [signal.SIGINT],
        [signal.SIGTERM],
        [signal.SIGHUP],
        [signal.SIGINT, signal.SIGINT],
        [signal.SIGTERM, signal.SIGINT],
        [signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGINT],
    ],
)
def test_whatever_signals_come_a_command_ends_once_and_in_order(signals):
    for _ in range(5):
        with run_command(0.05) as process:
            for number in signals:
                process.send_signal(number)
            output, errors = process.communicate()
        assert (process.returncode, output, errors) == (130, "in order\ndone\n", "")


def test_the_second_signal_ends_what_cannot_end_in_order():
    with run_command(600) as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "in order\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate()
    assert (process.returncode, output, errors) == (130, "", "")


def test_a_thread_has_a_grace_to_end_in_order_and_no_more():
    code = COMMAND.replace("run_in_order(command)", "{threads}\nrun_in_order(command)")
    threads = (
        "from threading import Thread\n"
        "Thread(target=lambda: (time.sleep(1), print('thread done', flush=True))).start()\n"
        "Thread(target=lambda: time.sleep(600)).start()"
    )
    with start([sys.executable, "-c", code.format(seconds=0, threads=threads)]) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate()
    assert (process.returncode, output, errors) == (130, "in order\ndone\nthread done\n", "")


def test_a_signal_that_was_ignored_stays_ignored_as_under_nohup():
    with run_command(0, before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.1)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 130


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    (folder / "tiny.toml").write_text(TEXT)
    command = [sys.executable, "-m", "harness", "run", str(folder / "tiny.toml"), "--results", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder / "tiny"


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGHUP, signal.SIGINT]])
@pytest.mark.parametrize(
    "command",
    [
        ["verify", "{results}"],
        ["plan", "--layers", "64,128x8,10", "--batch", "64", "--budget", "10MiB", "--measure"],
        ["flamegraph", "{cell}", "--results", "{results}", "--output", "{results}/page.html"],
    ],
    ids=lambda command: command[0],
)
def test_an_interrupted_command_leaves_no_scratch(results, tmp_path, command, signals):
    cell = (results / "memory.csv").read_text().splitlines()[1].partition(",")[0]
    arguments = [argument.format(results=results, cell=cell) for argument in command]
    with start([sys.executable, "-m", "harness", *arguments], folder=tmp_path) as process:
        wait_until(lambda: workers_of(process.pid))
        for number in signals:
            process.send_signal(number)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (130, "interrupted\n")
    assert list(tmp_path.iterdir()) == []
