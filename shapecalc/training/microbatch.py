"""How many samples go through the network at once: a batch, or what there is room for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from shapecalc.analysis.memory import in_units, memory
from shapecalc.builder.network import available_memory
from shapecalc.diagnostics import Fault
from shapecalc.language.recipe import Recipe
from shapecalc.tracer import Trace
from shapecalc.training import distributed
from shapecalc.training.device import Precision
from shapecalc.training.reporter import Reporter

Result = TypeVar("Result")

_SAID = (
    *("DefaultCPUAllocator", "not enough memory", "can't allocate memory", "std::bad_alloc"),
    *("could not create a memory object", "CUBLAS_STATUS_ALLOC_FAILED"),
)
"""What torch says where memory runs out and it has no error of its own for that."""


class MicroBatch:
    """Deals batches out in parts, which become smaller where memory runs out."""

    def __init__(
        self,
        trace: Trace,
        recipe: Recipe,
        precision: Precision,
        device: torch.device,
        reporter: Reporter,
    ) -> None:
        self.size = -(-recipe.batch_size // distributed.world())
        self.whole = False
        """Whether batches stay whole: where processes meet within the network, each must go through
        it as often as the others."""
        self._trace, self._recipe, self._precision = trace, recipe, precision
        self._device, self._reporter = device, reporter

    def parts(self, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """A batch in parts of no more than `size` samples, as even as can be."""
        count = 1 if self.whole else -(-len(tensors[0]) // self.size)
        return zip(*(tensor.tensor_split(count) for tensor in tensors), strict=True)

    def fit(self, work: Callable[[], Result]) -> Result:
        """What `work` gives; where memory runs out it is done again, with half as many at once.

        Raises Fault where there is no room for one.
        """
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            self._halve()  # out here, where nothing holds what the failed one had made

    def exhausted(self) -> Fault:
        """The error that there is no room for a single sample."""
        gpu = self._device.type == "cuda"
        free = torch.cuda.mem_get_info(self._device)[0] if gpu else available_memory()
        try:
            needs = memory(
                self._trace,
                optimizer=self._recipe.optimizer,
                precision=self._precision.name,
                accumulate=self._recipe.batch_size * self._recipe.accumulate,
                gpu=gpu,
            ).peak(1)
            estimate = f"it is estimated at {in_units(needs)}, and {in_units(free)} are free"
        except Fault:  # an optimizer without figures
            estimate = f"{in_units(free)} are free"
        return Fault(
            "E302",
            f"there is no room for a step with one image at once: {estimate}",
            argument="batch_size",
            help="shapecalc memory shows what needs it; a smaller input, fewer channels, or an "
            "optimizer that keeps less, such as sgd, need less",
        )

    def _halve(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if self.size == 1 or self.whole:
            raise self.exhausted()
        before, self.size = self.size, self.size // 2
        normed = any(row.kind == "batch_norm" for row in self._trace.rows)
        self._reporter.note(
            f"out of memory with {before} images at once: going on with {self.size}, and still "
            f"{self._recipe.batch_size * self._recipe.accumulate} to a step"
            + (f"; batch_norm sees {self.size} at a time from here on" if normed else "")
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it is the memory that an error comes from."""
    known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return known or (isinstance(error, RuntimeError) and any(s in str(error) for s in _SAID))
