"""Passes through the network that are recorded once on a GPU and then replayed: the processor then
starts one graph where it would start each of some hundred kernels.

See NVIDIA's and torch's notes on CUDA graphs: what is recorded has fixed addresses, so its inputs
are copied into place and the gradients stay where they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from shapecalc.language.recipe import Recipe
from shapecalc.training import distributed
from shapecalc.training.microbatch import is_out_of_memory
from shapecalc.training.reporter import Reporter

Sums = tuple[Tensor, Tensor]
"""The sum of the losses, and how many answers are right."""
Work = Callable[..., Sums]
"""Takes tensors, numbers and None, and adds to the gradients."""

_BEFORE = 3
"""Passes of a shape that run one kernel at a time, in which libraries choose what they then use."""


class Recorded(NamedTuple):
    inputs: Sequence[Tensor | None]
    """Where a pass is to find what it works on."""
    sums: Sums
    replay: Callable[[], object]
    pool: Any = None
    """The memory that others may be recorded in: one is replayed at a time."""


class Record(Protocol):
    """Records a pass that works on these inputs, beside one that is recorded already."""

    def __call__(
        self, work: Work, inputs: Sequence[Tensor | None], beside: Recorded | None
    ) -> Recorded: ...


def record(work: Work, inputs: Sequence[Tensor | None], beside: Recorded | None) -> Recorded:
    graph = torch.cuda.CUDAGraph()
    pool = beside.pool if beside else None
    # The thread that pins the memory of batches may go on meanwhile.
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        sums = work(*inputs)
    return Recorded(inputs, sums, graph.replay, graph.pool())


class Graphs:
    """Replays passes of equal shapes from a recording, once some have run; those of other shapes,
    such as an epoch's last batch, from another. What cannot be recorded is told and runs as it
    comes."""

    def __init__(self, parameters: Iterable[nn.Parameter], record: Record, reporter: Reporter):
        self._parameters, self._record, self._reporter = [*parameters], record, reporter
        self._seen: Counter[object] = Counter()
        self._recorded: dict[object, Recorded] = {}
        self._gradients: list[Tensor | None] = []
        """Those that recordings add to."""
        self._fails = False

    def __call__(self, work: Work, *inputs: Tensor | float | None) -> Sums:
        if self._fails:
            return work(*inputs)
        self._hold_gradients()
        key = tuple(
            (x.shape, x.stride(), x.dtype) if isinstance(x, Tensor) else x is None for x in inputs
        )
        self._seen[key] += 1
        if self._seen[key] <= _BEFORE:
            return work(*inputs)
        if key not in self._recorded and not self._can_record(work, key, inputs):
            return work(*inputs)
        recorded = self._recorded[key]
        for place, value in zip(recorded.inputs, inputs, strict=True):
            if isinstance(value, Tensor) and place is not None:
                place.copy_(value, non_blocking=True)
            elif place is not None:
                place.fill_(value)  # type: ignore[arg-type]
        recorded.replay()
        return recorded.sums

    def _hold_gradients(self) -> None:
        """Let each weight that is trained have a gradient to add to. Where these are others than
        before, as once `freeze` is over or after an error, no recording is of use any more."""
        for parameter in self._parameters:
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad if p.requires_grad else None for p in self._parameters]
        same = len(gradients) == len(self._gradients) and all(
            one is other for one, other in zip(gradients, self._gradients, strict=True)
        )
        if not same:
            self._recorded.clear()
            self._gradients = gradients

    def _can_record(self, work: Work, key: object, inputs: Sequence[Tensor | float | None]) -> bool:
        beside = next(iter(self._recorded.values()), None)
        try:
            self._recorded[key] = self._record(work, [self._place(x) for x in inputs], beside)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self._fails = True
            self._recorded.clear()
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            self._reporter.note(f"steps run kernel by kernel, as no graph can be made: {reason}")
            return False
        return True

    def _place(self, value: Tensor | float | None) -> Tensor | None:
        if isinstance(value, float):
            return torch.tensor(value, device=self._parameters[0].device)
        return None if value is None else value.clone()


def graphs_for(
    recipe: Recipe, model: nn.Module, device: torch.device, reporter: Reporter
) -> Graphs | None:
    """What replays the passes of a training; None where they run as they come. Several processes
    meet within a pass, and torch.compile has its own ways."""
    if device.type != "cuda" or distributed.world() > 1 or recipe.compile or not recipe.cuda_graphs:
        return None
    reporter.note(f"replays each size of batch as a CUDA graph once it has run {_BEFORE} times")
    return Graphs(model.parameters(), record, reporter)
