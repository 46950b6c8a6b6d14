"""Where a network is trained, and in which precision."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator
from typing import NamedTuple

import torch

from shapecalc.diagnostics import Fault
from shapecalc.training.launch import launch


class Precision(NamedTuple):
    """The type that convolutions and matrix products run in; weights stay in fp32."""

    name: str
    dtype: torch.dtype
    why: str

    @property
    def lowered(self) -> bool:
        return self.dtype != torch.float32


_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one, and each of several processes has its own.

    Raises Fault for a device that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise Fault(
            "E501", f"there is no device {name!r}", help="write auto, cpu or cuda"
        ) from None
    if device.type == "cuda" and device.index is None and launch().world > 1:
        device = torch.device("cuda", launch().local_rank)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            what = f"only {count} CUDA devices" if count else "no CUDA device"
            raise Fault("E501", f"{name} is asked for, but this machine has {what}",
                        help="leave --device out to take what is there")  # fmt: skip
    elif device.type != "cpu":
        raise Fault("E501", f"training runs on cpu or cuda, not {name}")
    return device


def choose_precision(name: str, device: torch.device) -> Precision:
    """`auto` is bf16 where the device computes it faster than fp32, else fp32."""
    if name != "auto":
        return Precision(name, _DTYPES[name], "as set")
    if device.type == "cuda":
        if torch.cuda.get_device_capability(device) >= (8, 0):
            return Precision("bf16", torch.bfloat16, f"{torch.cuda.get_device_name(device)} has it")
        return Precision("fp16", torch.float16, "this GPU has no bf16")
    flags = cpu_flags()
    for flag in ("amx_bf16", "avx512_bf16"):
        if flag in flags:
            return Precision("bf16", torch.bfloat16, f"this CPU has {flag}")
    return Precision("fp32", torch.float32, "this CPU has neither amx_bf16 nor avx512_bf16")


def cpu_flags() -> frozenset[str]:
    """The instruction sets that the system names; empty where it does not."""
    return frozenset(_told_of_cpu("flags", "Features").split())


def cpu_name() -> str:
    """The processor's name, as the system tells it."""
    return _told_of_cpu("model name") or platform.processor() or platform.machine()


def _told_of_cpu(*names: str) -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next((ln.partition(":")[2].strip() for ln in file if ln.startswith(names)), "")
    except OSError:
        return ""


def choose_workers(setting: int | str, device: torch.device) -> int:
    """Processes that decode images while the network trains.

    On a CPU they take time from the network, so one is enough to overlap the two.
    """
    if isinstance(setting, int):
        return setting
    cores = _cores()
    if cores <= 1:
        return 0
    return min(8, cores) if device.type == "cuda" else 1


def choose_decoders(setting: int | str) -> int:
    """Threads that decode images while nothing else goes on."""
    if isinstance(setting, int):
        return setting
    cores = _cores()
    return min(32, cores) if cores > 1 else 0


def _cores() -> int:
    """Of this machine, as many as are for this process."""
    known = hasattr(os, "sched_getaffinity")
    return (len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1) // launch().local_world


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt, as malloc.h numbers them."""


@contextlib.contextmanager
def kept_memory(device: torch.device) -> Iterator[None]:
    """Within it, memory that a CPU step frees stays with the process for the next step.

    glibc gives large blocks back at once, and every page of them is faulted in anew: a quarter of
    the processor's time in a step of the apparel network. Does nothing elsewhere.
    """
    mallopt = None
    if device.type == "cpu":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            mallopt, trim = libc.mallopt, libc.malloc_trim
    if mallopt is None:
        yield
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        mallopt(_M_MMAP_MAX, 65536)  # glibc's own values
        mallopt(_M_TRIM_THRESHOLD, 128 * 1024)
        trim(0)
