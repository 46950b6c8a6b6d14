"""A network as a list of steps, each a module with the tensors that it reads and makes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from shapecalc.analysis.flow import Flow
from shapecalc.builder.containers import MERGES


class Program(nn.Module):
    """The steps of a Flow, one after the other; each tensor is let go behind its last use."""

    def __init__(self, run: Flow, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(modules)
        numbers = {run.input: 0}
        last = {run.output: len(run.steps)}
        for at, step in enumerate(run.steps):
            for value in step.outputs:
                numbers[value] = len(numbers)
                last.setdefault(value, at)
            last.update((value, max(at, last.get(value, 0))) for value in step.inputs)
        self.wires = tuple(
            (
                [numbers[value] for value in step.inputs],
                [numbers[value] for value in step.outputs],
                [numbers[v] for v in dict.fromkeys((*step.inputs, *step.outputs)) if last[v] == at],
            )
            for at, step in enumerate(run.steps)
        )
        """For each step what it reads, what it makes, and what is not needed after it."""
        self.output = numbers[run.output]

    def forward(self, x: Tensor) -> Tensor:
        tensors = {0: x}
        for module, (inputs, outputs, done) in zip(self.steps, self.wires, strict=True):
            made = module(*(tensors[number] for number in inputs))
            tensors.update(zip(outputs, made if isinstance(made, tuple) else (made,), strict=True))
            for number in done:
                del tensors[number]
        return tensors[self.output]


class Join(nn.Module):
    """Tensors merged into one."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, *tensors: Tensor) -> Tensor:
        return MERGES[self.how](list(tensors))

    def extra_repr(self) -> str:
        return self.how


class Split(nn.Module):
    """A share of the channels for each branch."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.chunk(self.count, 1))

    def extra_repr(self) -> str:
        return str(self.count)
