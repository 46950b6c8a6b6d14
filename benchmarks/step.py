"""A training step of the apparel network: as torch comes, and as `shapecalc train` runs it.

Writes benchmarks/results/step.json: images per second, in turn in one run, and the share of what
the same CPU reaches in a 2048-square matrix product in fp32.
"""

import contextlib
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from show import cpu
from torch import nn

import shapecalc
from shapecalc.training.device import choose_precision, kept_memory

ROOT = Path(__file__).parent.parent
BATCH, STEPS, ROUNDS = 16, 3, 3


def stepper(layout: torch.memory_format, dtype: torch.dtype) -> Callable[[], None]:
    model = shapecalc.build(shapecalc.load(ROOT / "specs/apparel.yaml")).to(memory_format=layout)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    images = torch.rand(BATCH, 3, 512, 512).contiguous(memory_format=layout)
    labels = torch.randint(15, (BATCH,))

    def step() -> None:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = nn.functional.cross_entropy(model(images).float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def rates(step: Callable[[], None], keep: bool) -> list[float]:
    """Images per second of some steps, after one to warm up."""
    found = []
    with kept_memory(torch.device("cpu")) if keep else contextlib.nullcontext():
        step()
        for _ in range(STEPS):
            started = time.perf_counter()
            step()
            found.append(BATCH / (time.perf_counter() - started))
    return found


def matmul_gflops() -> float:
    a, b = torch.rand(2, 2048, 2048)
    a @ b
    started = time.perf_counter()
    a @ b
    return 2 * 2048**3 / (time.perf_counter() - started) / 1e9


def main() -> None:
    precision = choose_precision("auto", torch.device("cpu"))
    ways = {
        "as torch comes (NCHW, fp32)": stepper(torch.contiguous_format, torch.float32),
        f"as shapecalc trains (channels_last, {precision.name}, kept memory)": stepper(
            torch.channels_last, precision.dtype
        ),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for index, (name, step) in enumerate(ways.items()):
            found[name] += rates(step, keep=index > 0)
    medians = {name: round(statistics.median(values), 2) for name, values in found.items()}
    plain, ours = medians.values()
    ceiling = matmul_gflops()
    flops = 3 * 2 * shapecalc.trace(shapecalc.load(ROOT / "specs/apparel.yaml")).macs
    result = {
        "cpu": f"{cpu()}, {len(os.sched_getaffinity(0))} cores",
        "torch": torch.__version__,
        "batch": BATCH,
        "images_per_second": medians,
        "ratio": round(ours / plain, 2),
        "matmul_fp32_gflops": round(ceiling, 1),
        "share_of_matmul": round(ours * flops / 1e9 / ceiling, 2),
    }
    (ROOT / "benchmarks/results/step.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
