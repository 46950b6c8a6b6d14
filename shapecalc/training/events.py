"""An epoch's metrics as TensorBoard events, where TensorBoard is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def events(folder: Path, epochs: int) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What writes the metrics of an epoch; those of more than `epochs`, which a stopped run may
    have left, are hidden."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield lambda metrics: None
        return
    with SummaryWriter(str(folder), purge_step=epochs + 1) as writer:

        def write(metrics: Mapping[str, Any]) -> None:
            for key, value in metrics.items():
                writer.add_scalar(key, value, int(metrics["epoch"]))

        yield write
