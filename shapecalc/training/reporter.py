"""What training tells while it goes on. Printing is `report.progress`'s."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class Reporter:
    """Hears everything and says nothing."""

    def note(self, text: str) -> None:
        """A sentence that the user should know."""

    def started(self, folder: Path, epochs: float, planned: int) -> None:
        """A run is in `folder`, with so many epochs done, a share of one included, of those
        that are planned."""

    def begin(self, task: str, total: int) -> None:
        """Something that takes `total` steps begins, and what went on before is over."""

    def wants(self, done: int) -> bool:
        """Whether `update` is to be called now; it may cost waiting for the device."""
        return False

    def update(self, done: int, **figures: float) -> None:
        """So many steps are done. Figures of training are the means since it began of `loss` and
        `accuracy`, the `lr` of the next step, and the number of `images` so far."""

    def epoch(self, metrics: Mapping[str, float]) -> None:
        """An epoch is over, and saved."""

    def close(self) -> None:
        """Nothing more will come."""
