"""The same training several times over, with other seeds: how far its results are chance."""

from __future__ import annotations

from pathlib import Path

from shapecalc.language.spec import Spec
from shapecalc.training.loop import train
from shapecalc.training.reporter import Reporter
from shapecalc.training.run import Run, expect_empty
from shapecalc.training.stop import Stop


def repeat(
    spec: Spec,
    times: int,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    skip_bad: bool = False,
    reporter: Reporter | None = None,
    stop: Stop | None = None,
) -> list[Run]:
    """Train with the spec's seed, the next one and so on; the runs with their best weights.

    `out` names their folders `out-1`, `out-2` and so on. The seed also draws which pictures a
    folder without a validation split sets aside. Raises as `train` does.
    """
    reporter = reporter or Reporter()
    first = spec.recipe().seed
    folders = [None if out is None else Path(f"{out}-{number}") for number in range(1, times + 1)]
    for folder in folders:
        if folder is not None:
            expect_empty(folder)  # before the first of them is trained
    runs = []
    for number, folder in enumerate(folders):
        seed = first + number
        reporter.note(f"run {number + 1} of {times}, with seed {seed}")
        seeded = spec.model_copy(update={"train": {**spec.train, "seed": seed}})
        run = train(
            seeded, out=folder, device=device, skip_bad=skip_bad, reporter=reporter, stop=stop
        )
        runs.append(run)
    return runs
