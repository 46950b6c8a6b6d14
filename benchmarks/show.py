"""`shapecalc show` as a process, against the same table through torchinfo, in turn in one run.

Writes benchmarks/results/show.json: medians in seconds, the ratio, and the floor of a process that
imports pydantic and yaml and validates one model.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUNS = 15
COMMANDS = {
    "shapecalc show": [sys.executable, "-m", "shapecalc", "show", "specs/apparel.yaml"],
    "torchinfo": [sys.executable, str(Path(__file__).parent / "torchinfo_table.py")],
    "floor": [
        sys.executable,
        "-c",
        "from pydantic import BaseModel; import yaml\n"
        "class Model(BaseModel):\n    x: int\n"
        "Model(x=1)",
    ],
}


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def machine() -> dict[str, str]:
    """What a result file says of where it was made."""
    return {
        "cpu": f"{cpu()}, {len(os.sched_getaffinity(0))} cores",
        "torch": version("torch"),
        "python": platform.python_version(),
    }


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for command in COMMANDS.values():
        seconds(command)
    for _ in range(RUNS):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    medians = {name: round(statistics.median(values), 4) for name, values in times.items()}
    result = {
        **machine(),
        "runs": RUNS,
        "median_seconds": medians,
        "torchinfo_over_show": round(medians["torchinfo"] / medians["shapecalc show"], 1),
    }
    (ROOT / "benchmarks/results/show.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
