"""What a layer costs to read and to trace, as networks grow.

Writes benchmarks/results/tracing.json: medians in microseconds a layer, for 1,000 and for 10,000
layers of each network.
"""

import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from shapecalc import Conv, Spec, loads, trace

ROOT = Path(__file__).parent.parent
RUNS = 7
SIZES = (1_000, 10_000)

CONV = {"out_channels": 16, "kernel_size": 3, "padding": 1, "bias": False}
POOL = {"kernel_size": 3, "stride": 1, "padding": 1}
MIXED = [{"conv": CONV}, "batch_norm", "relu", {"max_pool": POOL}]
COMPUTED = [{"conv": {**CONV, "out_channels": "${x.channels}"}}, "batch_norm", "relu"]


def spec(layers: list) -> Spec:
    return Spec(input=(16, 32, 32), layers=layers, max_layers=100_000)


def residuals(body: list, count: int) -> Spec:
    repeat = {"times": count // (len(body) + 1), "index": "i", "layers": [{"residual": body}]}
    return spec([{"repeat": repeat}])


NETWORKS: dict[str, Callable[[int], Spec]] = {
    "convolutions": lambda n: spec([{"conv": CONV}] * n),
    "convolutions, all different": lambda n: spec(
        [Conv(16, kernel_size=3, padding=1, name=f"conv{i}") for i in range(n)]
    ),
    "conv, batch_norm, relu, max_pool": lambda n: spec(MIXED * (n // 4)),
    "residuals in a repeat": lambda n: residuals(MIXED[:3], n),
    "residuals with expressions": lambda n: residuals(COMPUTED, n),
}


def median(work: Callable[[], object], count: int) -> float:
    """Microseconds for each of `count` layers."""
    seconds = []
    for _ in range(RUNS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return round(statistics.median(seconds) / count * 1e6, 2)


def main() -> None:
    gc.disable()  # as the command does
    result: dict[str, dict[str, float]] = {}
    for name, make in NETWORKS.items():
        result[name] = {}
        for size in SIZES:
            network = make(size)
            rows = len(trace(network).rows)
            result[name][f"{size:,}"] = median(lambda network=network: trace(network), rows)
    text = "input: [16, 32, 32]\nlayers:\n"
    layer = "  - conv: {out_channels: 16, kernel_size: 3, padding: 1}\n"
    result["reading YAML"] = {
        f"{size:,}": median(lambda size=size: loads(text + layer * size), size) for size in SIZES
    }
    data = {
        "cpu": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "runs": RUNS,
        "microseconds_per_layer": result,
    }
    out = json.dumps(data, indent=2) + "\n"
    (ROOT / "benchmarks/results/tracing.json").write_text(out)
    sys.stdout.write(out)


if __name__ == "__main__":
    main()
