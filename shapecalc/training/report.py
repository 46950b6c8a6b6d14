"""The page that shows a run."""

from __future__ import annotations

import shlex
from pathlib import Path

import torch

from shapecalc.analysis.runs import read_machine, read_metrics
from shapecalc.diagnostics import Fault, ShapecalcError
from shapecalc.report import html
from shapecalc.tracer import trace
from shapecalc.training import checkpoint
from shapecalc.training.findings import look
from shapecalc.training.microbatch import MicroBatch
from shapecalc.training.reporter import Reporter
from shapecalc.training.run import load_run
from shapecalc.training.samples import Data
from shapecalc.training.stop import Stop

REPORT = "report.html"


def report(
    run: str | Path,
    data: str | Path | Data | None = None,
    *,
    split: str | None = "valid",
    out: str | Path | None = None,
    device: torch.device | str = "cpu",
    reporter: Reporter | None = None,
    stop: Stop | None = None,
    micro: MicroBatch | None = None,
) -> Path:
    """Write the page of a run, `report.html` in its folder unless `out` names a file; its path.

    `run` is a run's folder or one of its weights files; `data` is a folder, else what the run was
    trained on, of which `split` is looked at. Raises RunError and DataError, and Stopped where
    `stop` asks for the end.
    """
    loaded = load_run(run)
    folder = loaded.path.parent
    text = html.page(
        trace(loaded.spec),
        look(
            loaded,
            data,
            split=split,
            device=device,
            reporter=reporter,
            stop=stop,
            micro=micro,
        ),
        epoch=loaded.epoch,
        metrics=read_metrics(folder),
        machine=read_machine(folder),
    )
    path = Path(out) if out is not None else folder / REPORT
    checkpoint.write_text(path, text)
    return path


def closing(
    folder: Path,
    data: Data | None,
    device: torch.device,
    reporter: Reporter,
    stop: Stop,
    micro: MicroBatch | None = None,
) -> None:
    """The page at the end of training, which is over and saved whatever becomes of it."""
    try:
        report(folder, data, device=device, reporter=reporter, stop=stop, micro=micro)
    except (ShapecalcError, Fault, OSError, RuntimeError, MemoryError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]  # torch may say a lot
        again = f"shapecalc report {shlex.quote(str(folder))}"
        reporter.note(f"{REPORT} was not made: {why}; try: {again}")
