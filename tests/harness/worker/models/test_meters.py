"""Both meters tell phases of what is requested; the GPU's is tried on an allocator that a test plays."""

import pytest

torch = pytest.importorskip("torch")

from harness.worker.models.meters import CpuMeter, CudaMeter, Phase, TensorMeter, meter_of

MIB = 2**20


class Allocator:
    """What `torch.cuda` tells of a GPU that is not there."""

    def __init__(self):
        self.current = self.peak = 7 * MIB  # parameters
        self.synchronized = 0

    def change(self, nbytes):
        self.current += nbytes
        self.peak = max(self.peak, self.current)

    def reset(self):
        self.peak = self.current

    def statistics(self):
        return {"requested_bytes.all.current": self.current, "requested_bytes.all.peak": self.peak}

    def synchronize(self):
        self.synchronized += 1


@pytest.fixture
def allocator(monkeypatch):
    played = Allocator()
    monkeypatch.setattr(torch.cuda, "synchronize", played.synchronize)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", played.reset)
    monkeypatch.setattr(torch.cuda, "memory_stats", played.statistics)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: played.peak + MIB)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 20 * MIB)
    return played


def step_on(allocator):
    def step(mark):
        allocator.change(3 * MIB)
        allocator.change(-MIB)
        mark("first")
        allocator.change(4 * MIB)
        allocator.change(-5 * MIB)
        mark("second")
        allocator.change(-MIB)

    return step


def test_a_gpus_phases_are_counted_from_the_start_of_the_step(allocator):
    phases = CudaMeter().phases(step_on(allocator))
    assert phases == [Phase("first", 2 * MIB, 3 * MIB), Phase("second", MIB, 6 * MIB)]
    assert allocator.synchronized


def test_a_gpus_peak_leaves_out_what_was_there(allocator):
    peaks = CudaMeter().peaks(lambda: step_on(allocator)(lambda name: None))
    assert peaks == {"peak_bytes": 6 * MIB, "allocated_peak_bytes": 14 * MIB, "reserved_peak_bytes": 20 * MIB}


def test_the_cpus_phases_are_memrays():
    def step(mark):
        held = torch.zeros(MIB)
        mark("first")
        more = held + 1
        del held
        mark("second")
        del more

    first, second = CpuMeter().phases(step)
    assert (first.name, second.name) == ("first", "second")
    assert 4 * MIB <= first.live_bytes <= first.peak_bytes < 4 * MIB + 4096
    assert 8 * MIB <= second.peak_bytes < 8 * MIB + 4096
    assert 4 * MIB <= second.live_bytes < 4 * MIB + 4096
    assert 4 * MIB <= CpuMeter().peaks(lambda: torch.zeros(MIB))["peak_bytes"] < 4 * MIB + 4096


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_tensors_are_counted_by_their_storages(device):
    given = torch.zeros(MIB, device=device)

    def step(mark):
        held = given + 1
        mark("first")
        view, more = held[1:], held.exp()
        held.add_(given)
        del held
        mark("second")
        del more, view
        mark("third")

    assert TensorMeter().phases(step) == [
        Phase("first", 4 * MIB, 4 * MIB),
        Phase("second", 8 * MIB, 8 * MIB),
        Phase("third", 0, 8 * MIB),
    ]
    assert TensorMeter().peaks(lambda: given.exp().exp()) == {"peak_bytes": 8 * MIB}


@pytest.mark.parametrize(
    ("device", "meter"), [("cpu", CpuMeter), ("cuda", CudaMeter), ("cuda:1", CudaMeter), ("meta", TensorMeter)]
)
def test_each_device_has_its_meter(device, meter):
    assert isinstance(meter_of(device), meter)
