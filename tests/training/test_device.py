"""Where a network is trained, and in which precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from shapecalc.diagnostics import Fault
from shapecalc.training import device as devices
from shapecalc.training.device import (
    choose_decoders,
    choose_device,
    choose_precision,
    choose_workers,
    cpu_flags,
    kept_memory,
)

CPU = torch.device("cpu")


def refused(action: Callable[[], object]) -> Fault:
    with pytest.raises(Fault) as caught:
        action()
    assert caught.value.code == "E501"
    assert "\n" not in caught.value.message + caught.value.help
    return caught.value


def graphics(monkeypatch: pytest.MonkeyPatch, count: int, version: tuple[int, int]) -> None:
    """A machine with so many GPUs of a compute capability."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: version)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    graphics(monkeypatch, 0, (0, 0))
    assert choose_device("auto") == CPU
    graphics(monkeypatch, 2, (9, 0))
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cpu") == CPU


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    graphics(monkeypatch, 0, (0, 0))
    fault = refused(lambda: choose_device("cuda"))
    assert fault.message == "cuda is asked for, but this machine has no CUDA device"
    assert fault.help == "leave --device out to take what is there"
    graphics(monkeypatch, 2, (9, 0))
    fault = refused(lambda: choose_device("cuda:2"))
    assert fault.message == "cuda:2 is asked for, but this machine has only 2 CUDA devices"


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cuda:-1", "cpu:cpu", "tpu v4"])
def test_a_device_that_no_machine_has(name: str) -> None:
    fault = refused(lambda: choose_device(name))
    assert fault.message == f"there is no device {name!r}"
    assert fault.help == "write auto, cpu or cuda"


@pytest.mark.parametrize("name", ["meta", "mps", "xla"])
def test_a_device_that_is_not_for_training(name: str) -> None:
    assert refused(lambda: choose_device(name)).message == (
        f"training runs on cpu or cuda, not {name}"
    )


@pytest.mark.parametrize(
    ("flags", "name", "why"),
    [
        ({"amx_bf16", "avx512_bf16"}, "bf16", "this CPU has amx_bf16"),
        ({"avx512f", "avx512_bf16"}, "bf16", "this CPU has avx512_bf16"),
        ({"avx2", "avx512f"}, "fp32", "this CPU has neither amx_bf16 nor avx512_bf16"),
        (set(), "fp32", "this CPU has neither amx_bf16 nor avx512_bf16"),
    ],
)
def test_precision_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], name: str, why: str
) -> None:
    monkeypatch.setattr(devices, "cpu_flags", lambda: frozenset(flags))
    found = choose_precision("auto", CPU)
    assert (found.name, found.why) == (name, why)
    assert found.lowered == (name == "bf16")


@pytest.mark.parametrize(
    ("version", "name"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")]
)
def test_precision_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], name: str
) -> None:
    graphics(monkeypatch, 1, version)
    assert choose_precision("auto", torch.device("cuda")).name == name


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_a_precision_that_is_set_is_taken(name: str, dtype: torch.dtype) -> None:
    found = choose_precision(name, CPU)
    assert (found.name, found.dtype, found.why) == (name, dtype, "as set")


def test_the_flags_are_those_of_the_system() -> None:
    try:
        with open("/proc/cpuinfo") as file:
            text = file.read()
    except OSError:
        assert cpu_flags() == frozenset()
        return
    assert all(flag in text for flag in cpu_flags())


@pytest.mark.parametrize(
    ("cores", "kind", "workers"),
    [(1, "cpu", 0), (2, "cpu", 1), (64, "cpu", 1), (1, "cuda", 0), (4, "cuda", 4), (64, "cuda", 8)],
)
def test_workers(monkeypatch: pytest.MonkeyPatch, cores: int, kind: str, workers: int) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert choose_workers("auto", torch.device(kind)) == workers
    assert choose_workers(3, torch.device(kind)) == 3
    assert choose_workers(0, torch.device(kind)) == 0


@pytest.mark.parametrize(("cores", "decoders"), [(1, 0), (2, 2), (16, 16), (200, 32)])
def test_decoders(monkeypatch: pytest.MonkeyPatch, cores: int, decoders: int) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert choose_decoders("auto") == decoders
    assert choose_decoders(3) == 3
    assert choose_decoders(0) == 0


def test_kept_memory_changes_nothing_but_where_memory_comes_from() -> None:
    with kept_memory(torch.device("cpu")):
        inside = torch.ones(2**20).cumsum(0)
    assert torch.equal(inside, torch.ones(2**20).cumsum(0))
    with pytest.raises(ZeroDivisionError), kept_memory(torch.device("cpu")):
        raise ZeroDivisionError
