"""What every entrant is given, and what it has to tell: a task as JSON on the command line, and a
result as JSON in a file."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file
from torch import nn

import shapecalc


@dataclass(frozen=True)
class Task:
    spec: str
    data: str
    """A folder with train/CLASS and valid/CLASS."""
    files: list[str]
    """The training pictures in the order in which all are to take them."""
    weights: str
    """Initial weights, a safetensors file."""
    size: int
    batch: int
    epochs: int
    lr: float
    tuned: bool
    """As the tool's own manual says; else as it comes."""
    exact: bool
    """In fp32, telling the loss of each step."""
    result: str

    @classmethod
    def given(cls) -> Self:
        return cls(**json.loads(sys.argv[1]))

    def model(self) -> nn.Module:
        model = shapecalc.build(shapecalc.load(self.spec))
        model.load_state_dict(load_file(self.weights))
        return model

    @property
    def classes(self) -> list[str]:
        return sorted(path.name for path in Path(self.data, "train").iterdir())

    def label(self, file: str) -> int:
        return self.classes.index(Path(file).parent.name)


@dataclass
class Clock:
    """What an entrant tells."""

    task: Task
    seconds: list[float] = field(default_factory=list)
    """Of each epoch's training."""
    losses: list[float] = field(default_factory=list)
    first_step: float = 0.0
    """When the first step was done, as the system's clock has it."""
    first_epoch: float = 0.0
    products: list[float] = field(default_factory=list)
    """GFLOP/s of a product in bf16, after each epoch."""
    version: str = ""
    _since: float = 0.0

    def begin_epoch(self) -> None:
        self._since = time.perf_counter()

    def step(self, loss: Callable[[], float]) -> None:
        self.first_step = self.first_step or time.time()
        if self.task.exact:
            self.losses.append(loss())

    def end_epoch(self) -> None:
        self.note_epoch(time.perf_counter() - self._since)

    def note_epoch(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.first_epoch = self.first_epoch or time.time()
        self.products.append(product(torch.bfloat16))

    def write(self) -> None:
        told: dict[str, Any] = asdict(self)
        del told["task"], told["_since"]
        Path(self.task.result).write_text(json.dumps(told))


def product(dtype: torch.dtype, size: int = 2048) -> float:
    """GFLOP/s that the processor reaches in a square matrix product, the median of some."""
    a, b = torch.rand(2, size, size).to(dtype)
    seconds = []
    for _ in range(7):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(seconds) / 1e9


class Pictures(torch.utils.data.Dataset[Any]):
    """The pictures in order, through torchvision's transforms as its tutorials have them."""

    def __init__(self, task: Task) -> None:
        from torchvision import transforms

        self.files, self.labels = task.files, [task.label(file) for file in task.files]
        self.transform = transforms.Compose(
            [transforms.Resize((task.size, task.size)), transforms.ToTensor()]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("RGB")), self.labels[index]
