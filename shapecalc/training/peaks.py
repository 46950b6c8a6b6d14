"""What this machine reaches, measured in a second or two."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from shapecalc.analysis.roofline import Device
from shapecalc.builder.network import available_memory
from shapecalc.training.device import choose_device, choose_precision

_ROUNDS = 5


def here(precision: str = "auto") -> Device:
    """The GPU, or the CPU where there is none, with the best of a few rounds: a matrix product in
    fp32 and in the precision that is asked for, and a copy."""
    device = choose_device("auto")
    chosen = choose_precision(precision, device)
    gpu = device.type == "cuda"
    side, count = (8192, 2**28) if gpu else (2048, 2**25)
    flops = {}
    for name, dtype in {"fp32": torch.float32, chosen.name: chosen.dtype}.items():
        a = torch.rand(side, side, device=device).to(dtype)
        flops[name] = 2 * side**3 / _fastest(lambda a=a: a @ a, gpu)  # type: ignore[misc]
    source = torch.zeros(count, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * 4 * count / _fastest(lambda: target.copy_(source), gpu)
    if gpu:
        name, memory = torch.cuda.get_device_name(device), torch.cuda.mem_get_info(device)[1]
    else:
        name, memory = "this CPU", available_memory()
    return Device(name, memory, bandwidth, flops, gpu)


def _fastest(work: Callable[[], object], gpu: bool) -> float:
    times = []
    for _ in range(_ROUNDS + 1):  # the first one warms up
        started = time.perf_counter()
        work()
        if gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times[1:])
