"""Windows taken out of a plane, and put together again."""

from math import isqrt, prod
from typing import ClassVar

from pydantic import Field

from shapecalc import geometry
from shapecalc.diagnostics import Fault
from shapecalc.layers.base import (
    Carried,
    Fields,
    Layer,
    Paddings,
    Shape,
    Sizes,
    Tensor,
    everything,
    fits,
    merged,
    mixed,
    of_rank,
    show,
    slide,
    times,
)


class _Windows(Layer):
    """What both share: windows over two axes."""

    kernel_size: Sizes
    dilation: Sizes = 1
    padding: Paddings = 0
    stride: Sizes = 1

    def windows(self, spatial: Shape = ()) -> tuple[geometry.Window, ...]:
        names = ("kernel_size", "dilation", "stride", "padding")
        return tuple(zip(*(self._pair(name) for name in names), strict=True))

    def _pair(self, argument: str) -> Shape:
        """An argument for both axes. Raises Fault."""
        value = getattr(self, argument)
        if isinstance(value, int):
            return value, value
        if len(value) != 2:
            raise Fault(
                "E204",
                f"{self.kind} has {len(value)} values in {argument}, {list(value)}, "
                "but windows in a plane have 2 axes",
                argument=argument,
                help="give one number for both axes, or 2",
            )
        return tuple(value)

    def counts(self, sizes: Shape) -> Shape:
        """Windows along each axis."""
        return tuple(
            geometry.conv_size(i, geometry.extent(k, d), s, 2 * p)
            for i, (k, d, s, p) in zip(sizes, self.windows(), strict=True)
        )

    def _counted(self, sizes: Shape) -> str:
        """How the number of windows comes about."""
        counts = self.counts(sizes)
        each = [
            f"floor(({i} - {geometry.extent(k, d)} + 2*{p})/{s}) + 1 = {o}"
            for i, (k, d, s, p), o in zip(sizes, self.windows(), counts, strict=True)
        ]
        return f"{'; '.join(dict.fromkeys(each))}; {counts[0]} x {counts[1]} = {prod(counts)}"


class Unfold(_Windows):
    """Each window of [C, H, W] as a column: nn.Unfold."""

    kind: ClassVar[str] = "unfold"
    main: ClassVar[str] = "kernel_size"
    kernel_size: Sizes = Field(kw_only=False)

    def output_shape(self, shape: Shape) -> Shape:
        sizes = of_rank(self, shape, 2)
        kernels, dilations, _, paddings = zip(*self.windows(), strict=True)
        fits(self, sizes, [2 * p for p in paddings], kernels, dilations)
        return shape[0] * prod(kernels), prod(self.counts(sizes))

    def see(self, tensor: Tensor) -> Fields:
        counts = self.counts(tensor.shape[1:])
        fields = list(slide(mixed(tensor), self.windows(), geometry.see))
        # Padding can make more windows than there were positions, and the merged axis does not
        # tell how many: what looks at all of it later would see too little.
        for size, count, carried in zip(tensor.shape[1:], counts, tensor.carried[1:], strict=True):
            for at in carried if count > size else ():
                fields[at] = geometry.see_all(fields[at], count)
        return tuple(fields)

    def carry(self, tensor: Tensor) -> Carried:
        return (), merged(*tensor.carried[1:])

    def formula(self, shape: Shape, output: Shape) -> str:
        kernels = self._pair("kernel_size")
        rows = f"{shape[0]}*{'*'.join(map(str, kernels))} = {output[0]}"
        return f"{rows}; {self._counted(shape[1:])}"


class Fold(_Windows):
    """Columns added up to [C, H, W], each as a window: nn.Fold."""

    kind: ClassVar[str] = "fold"
    main: ClassVar[str] = "output_size"
    output_size: Sizes = Field(kw_only=False)

    def output_shape(self, shape: Shape) -> Shape:
        (length,) = of_rank(self, shape, 1)
        kernels, sizes = self._pair("kernel_size"), self._pair("output_size")
        elements = prod(kernels)
        if shape[0] % elements:
            raise Fault(
                "E204",
                f"fold has windows of {times(kernels)} = {elements}, which does not divide its "
                f"{shape[0]} channels",
                argument="kernel_size",
                help=f"{shape[0] // elements * elements or elements} channels are divided by it",
            )
        counts = self.counts(sizes)
        if min(counts) < 1 or prod(counts) != length:
            found = times([max(0, count) for count in counts])
            raise Fault(
                "E204",
                f"fold has {found} windows in an output of {times(sizes)}, "
                f"but its input {show(shape)} has {length}",
                argument="output_size",
                help=self._square(length),
            )
        return shape[0] // elements, *sizes

    def see(self, tensor: Tensor) -> Fields:
        return everything(tensor, 0, 1)  # which columns lie near each other is not kept

    def carry(self, tensor: Tensor) -> Carried:
        return (), (), ()

    def formula(self, shape: Shape, output: Shape) -> str:
        elements = prod(self._pair("kernel_size"))
        return f"{shape[0]} / {elements} = {output[0]}; {self._counted(output[1:])}"

    def _square(self, length: int) -> str:
        """The output of as many windows along both axes that fits, where there is one."""
        side = isqrt(length)
        if side * side != length:
            return ""
        sizes = [
            (side - 1) * s + geometry.extent(k, d) - 2 * p for k, d, s, p in self.windows()
        ]  # fmt: skip
        return f"write output_size: {sizes}, for {side}x{side} windows" if min(sizes) > 0 else ""
