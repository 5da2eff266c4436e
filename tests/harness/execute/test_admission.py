"""The memory that a machine has for new processes."""

import pytest

from harness.execute import admission

FILES = {
    "new": ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    "old": (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
}


@pytest.mark.parametrize("version", FILES)
def test_files_that_a_container_has_read_are_not_memory_in_use(tmp_path, monkeypatch, version):
    monkeypatch.setattr(admission, "CONTROL_GROUPS", tmp_path)
    limit, used, stat, inactive = FILES[version]
    (tmp_path / "memory").mkdir()
    (tmp_path / limit).write_text("1000000\n")
    (tmp_path / used).write_text("700000\n")
    (tmp_path / stat).write_text(f"anon 200000\n{inactive} 400000\nactive_file 100000\n")
    assert admission.available_bytes() == 1_000_000 - 700_000 + 400_000


def test_a_container_without_a_limit_has_the_memory_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(admission, "CONTROL_GROUPS", tmp_path)
    nowhere = admission.available_bytes()
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700000\n")
    assert admission.available_bytes() == pytest.approx(nowhere, rel=0.2)
