"""Paddings by themselves."""

from typing import Annotated, ClassVar

from pydantic import Field

from shapecalc import geometry
from shapecalc.diagnostics import Fault
from shapecalc.layers.base import (
    AXES,
    Shape,
    Window,
    each_axis,
    keeps_input,
    nonempty,
    spatial,
)


class _Pad(Window):
    """What paddings share. A negative number crops; the last axis comes first, as in torch."""

    main: ClassVar[str] = "padding"
    padding: int | Annotated[tuple[int, ...], Field(strict=False)] = Field(kw_only=False)

    def output_shape(self, shape: Shape) -> Shape:
        sizes = spatial(self, shape)
        pads = self._pads(len(sizes))
        output = tuple(i + sum(pad) for i, pad in zip(sizes, pads, strict=True))
        nonempty(self, shape, (shape[0], *output))
        for name, size, pad in zip(AXES[len(sizes)], sizes, pads, strict=True):
            self._check(name, size, pad)
        return shape[0], *output

    def windows(self, spatial: Shape) -> tuple[geometry.Window, ...]:
        # Counted as if the input went on: what is mirrored or repeated is seen no wider than that,
        # and a circle is counted around it.
        return tuple((1, 1, 1, left) for left, _ in self._pads(len(spatial)))

    def formula(self, shape: Shape, output: Shape) -> str:
        pads = self._pads(len(shape) - 1)
        lines = [
            f"{i} {_signed(left)} {_signed(right)} = {o}"
            for i, (left, right), o in zip(shape[1:], pads, output[1:], strict=True)
        ]
        return each_axis(lines)

    def _check(self, name: str, size: int, pad: tuple[int, int]) -> None:
        """Whether the pixels of an axis are enough for its padding. Raises Fault."""

    def _pads(self, axes: int) -> list[tuple[int, int]]:
        """Left and right padding of each axis. Raises Fault."""
        given = self.padding
        if isinstance(given, int):
            return [(given, given)] * axes
        if len(given) != 2 * axes:
            raise Fault(
                "E204",
                f"{self.kind} has {len(given)} values in padding, {list(given)}, "
                f"but its input has {axes} spatial {'axis' if axes == 1 else 'axes'}",
                argument="padding",
                help=f"give one number for all sides, or {2 * axes}: two for each axis, "
                "the last axis first",
            )
        return [(given[n], given[n + 1]) for n in range(0, 2 * axes, 2)][::-1]

    def _too_much(self, name: str, pad: int, most: int, why: str) -> Fault:
        return Fault(
            "E204",
            f"{self.kind} pads {pad} along the {name}, but {why}",
            argument="padding",
            help=f"write padding: {most}, the most that fits" if most > 0 else "use constant_pad",
        )


class ConstantPad(_Pad):
    """A border of one value: nn.ConstantPad1d, 2d or 3d."""

    kind: ClassVar[str] = "constant_pad"
    value: float = 0.0

    def _check(self, name: str, size: int, pad: tuple[int, int]) -> None:
        kept = size + sum(min(0, side) for side in pad)
        if kept < 0:
            raise Fault(
                "E204",
                f"constant_pad crops {size - kept} along the {name}, which has {size}",
                argument="padding",
                help=f"crop at most {size}",
            )


class ReflectionPad(_Pad):
    """A border that mirrors the input: nn.ReflectionPad1d, 2d or 3d."""

    kind: ClassVar[str] = "reflection_pad"

    saved = keeps_input

    def _check(self, name: str, size: int, pad: tuple[int, int]) -> None:
        if max(pad) >= size:
            why = f"the {size} there have {size - 1} others to mirror"
            raise self._too_much(name, max(pad), size - 1, why)


class ReplicationPad(_Pad):
    """A border that repeats the outermost pixels: nn.ReplicationPad1d, 2d or 3d."""

    kind: ClassVar[str] = "replication_pad"

    saved = keeps_input


class CircularPad(_Pad):
    """A border that goes on at the other side: nn.CircularPad1d, 2d or 3d."""

    kind: ClassVar[str] = "circular_pad"

    def _check(self, name: str, size: int, pad: tuple[int, int]) -> None:
        # torch also takes more than what a crop on the other side leaves, and then copies a
        # stretch of memory over itself: what comes out is not defined
        kept = size + sum(min(0, side) for side in pad)
        if max(pad) > kept:
            raise self._too_much(name, max(pad), kept, f"only {max(0, kept)} are there to go round")


def _signed(number: int) -> str:
    return f"- {-number}" if number < 0 else f"+ {number}"
