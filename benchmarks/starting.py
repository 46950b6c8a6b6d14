"""How long from the command to the first step and to the end of the first epoch, decoding included.

    python benchmarks/starting.py DATA [--rounds 3]

As benchmarks/training.py, whose entrants and pictures it takes, but for one epoch, and in turn.
Writes benchmarks/results/starting.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from show import machine
from training import ENTRANTS, JOBS, RESULTS, Outcome, entered, prepared


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    told: dict[str, Any] = {**machine(), "jobs": {}}
    for name, job in JOBS.items():
        found: dict[str, list[Outcome]] = {entrant: [] for entrant in ENTRANTS}
        with tempfile.TemporaryDirectory() as folder:
            task = prepared(job, given.data.resolve(), Path(folder))
            for _ in range(given.rounds):
                for entrant, (program, tuned, _) in ENTRANTS.items():
                    outcome = entered(replace(task, tuned=tuned, epochs=1), program)
                    found[entrant].append(outcome)
                    print(f"{name}: {entrant}: {outcome.first_step:.1f} s", flush=True)
        told["jobs"][name] = {
            "images": job.images,
            "batch": job.batch,
            "entrants": {
                entrant: {
                    "first_step_s": round(statistics.median(o.first_step for o in outcomes), 2),
                    "first_epoch_s": round(statistics.median(o.first_epoch for o in outcomes), 2),
                }
                for entrant, outcomes in found.items()
            },
        }
    (RESULTS / "starting.json").write_text(json.dumps(told, indent=2) + "\n")
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
