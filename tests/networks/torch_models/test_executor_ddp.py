"""Two processes under DistributedDataParallel: gradients and buffers are those of plain models under it."""

import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from harness.provenance import ROOT


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch is built without torch.distributed")
def test_two_processes_train_as_they_do_plainly(tmp_path):
    """With no_sync, static_graph, find_unused_parameters, and gradients that are views of buckets."""
    command = (sys.executable, "-m", "tests.support.ddp_worker", str(tmp_path))
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    workers = [
        subprocess.Popen([*command, str(rank)], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        errors = [worker.communicate(timeout=300)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(errors)
