"""shapecalc, as `shapecalc train` runs it."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from task import Clock, Task

import shapecalc
from shapecalc.training.reporter import Reporter

task = Task.given()
clock = Clock(task, version=shapecalc.__version__)


class Times(Reporter):
    begun = False
    total = 0.0

    def note(self, text: str) -> None:
        print(text)

    def begin(self, name: str, total: int) -> None:
        self.begun = name.startswith("epoch")
        self.total = 0.0

    def wants(self, done: int) -> bool:
        return self.begun and (task.exact or not clock.first_step)

    def update(self, done: int, **figures: float) -> None:
        if self.begun:
            before, self.total = self.total, figures["loss"] * figures["images"]
            clock.step(lambda: (self.total - before) / task.batch)

    def epoch(self, metrics: Mapping[str, float]) -> None:
        clock.note_epoch(metrics["seconds"])


overrides = {
    "train.data": json.dumps({"folder": task.data}),
    "train.init": task.weights,
    "train.optimizer": json.dumps({"adamw": {"lr": task.lr}}),
    "train.batch_size": str(task.batch),
    "train.epochs": str(task.epochs),
    "train.normalize": "null",
    "train.augment": "[]",
    "train.schedule": "null",
    "train.freeze": "0",
    "train.lr_decay": "1.0",
    "train.precision": "fp32" if task.exact else "auto",
    "train.rewrites": "auto" if task.tuned else "[]",
}
with tempfile.TemporaryDirectory() as folder:
    spec = shapecalc.load(task.spec, overrides)
    shapecalc.train(spec, out=Path(folder, "run"), device="cpu", reporter=Times())
clock.write()
