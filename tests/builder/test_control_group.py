"""The memory that containers leave, from the files that Linux tells it in."""

from __future__ import annotations

from pathlib import Path

import pytest

from shapecalc.builder import network
from shapecalc.builder.control_group import memory_left


def group(root: Path, place: str, limit: str, used: int, old: bool = False) -> None:
    folder = root / "sys/fs/cgroup" / place
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if old else (
        "memory.max", "memory.current"
    )  # fmt: skip
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    mark = "total_" if old else ""
    (folder / "memory.stat").write_text(
        f"anon 7\n{mark}inactive_file 30\n{mark}active_file 20\nsock 0\n"
    )


def process(root: Path, *lines: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in lines))
    return root


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert memory_left(tmp_path) is None
    assert memory_left(process(tmp_path, "0::/")) is None


def test_a_container(tmp_path: Path) -> None:
    group(tmp_path, "", "1000", 600)
    assert memory_left(process(tmp_path, "0::/")) == 450


def test_a_group_without_a_limit(tmp_path: Path) -> None:
    group(tmp_path, "", "max", 600)
    assert memory_left(process(tmp_path, "0::/")) is None


def test_the_strictest_group_above_counts(tmp_path: Path) -> None:
    group(tmp_path, "job", "1000", 700)
    group(tmp_path, "job/step", "5000", 100)
    group(tmp_path, "job/step/task", "max", 100)
    assert memory_left(process(tmp_path, "0::/job/step/task")) == 350


def test_one_that_is_full(tmp_path: Path) -> None:
    group(tmp_path, "", "1000", 2000)
    assert memory_left(process(tmp_path, "0::/")) == 0


def test_control_groups_of_the_first_version(tmp_path: Path) -> None:
    group(tmp_path, "memory", "1000", 600, old=True)
    lines = ("9:cpu,cpuacct:/docker/1", "4:memory:/docker/1", "0::/")
    assert memory_left(process(tmp_path, *lines)) == 450


def test_available_memory_is_the_less_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    free = network.available_memory()
    assert free > 2**20
    monkeypatch.setattr(network, "memory_left", lambda: 5)
    assert network.available_memory() == 5
    monkeypatch.setattr(network, "memory_left", lambda: None)
    assert network.available_memory() > 2**20
