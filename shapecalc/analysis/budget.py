"""What training a spec as it stands takes: its memory, the batch that fits, the least time."""

from __future__ import annotations

from dataclasses import dataclass

from shapecalc.analysis.memory import Memory, memory
from shapecalc.analysis.roofline import Bound, Device, roofline
from shapecalc.language.spec import Spec
from shapecalc.tracer import trace


@dataclass(frozen=True)
class Budget:
    """The needs of a spec with the settings of its `train:`."""

    memory: Memory
    rewritten: Memory
    """The same with the rewrites that its training makes."""
    batch: int
    room: int | None
    """Bytes that are to do: those asked for, else the device's."""
    device: Device | None
    bound: Bound | None

    @property
    def largest(self) -> int | None:
        """The largest batch that fits, where it is known into what."""
        return None if self.room is None else self.memory.largest_batch(self.room)


def budget(spec: Spec, *, device: Device | None = None, room: int | None = None) -> Budget:
    """The needs of a training step. Raises SpecError, and Fault for settings without figures.

    `precision: auto` is the device's, and fp32 where none is named.
    """
    traced, recipe = trace(spec), spec.recipe()
    precision: str = recipe.precision
    if precision == "auto":
        precision = device.precision if device else "fp32"
    needs, rewritten = (
        memory(
            traced,
            optimizer=recipe.optimizer,
            precision=precision,
            accumulate=recipe.accumulate,
            gpu=device is not None and device.gpu,
            batch=recipe.batch_size,
            rewrites=rewrites,
        )
        for rewrites in ((), recipe.rewrites)
    )
    if device is None:
        return Budget(needs, rewritten, recipe.batch_size, room, None, None)
    bound = roofline(
        traced,
        device,
        batch=recipe.batch_size,
        precision=precision,
        optimizer=recipe.optimizer,
    )
    room = device.memory if room is None else room
    return Budget(needs, rewritten, recipe.batch_size, room, device, bound)
