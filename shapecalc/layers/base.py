"""What every layer is: a frozen class with its arguments, a shape rule and its costs."""

import operator
from collections.abc import Callable, Iterable, Sequence
from math import gcd, prod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from shapecalc import geometry
from shapecalc.diagnostics import CODES, Fault, nearest

Shape = tuple[int, ...]
"""The sizes of one sample, without the batch axis: (C, H, W), (C, L), (C, D, H, W), (features,)."""

Fields = tuple[geometry.Field, ...]
"""What each position sees of the input, one `geometry.Field` for each axis of the input."""

Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Sizes = Positive | Annotated[tuple[Positive, ...], Field(strict=False)]
"""One number for all axes, or one for each."""
Paddings = Natural | Annotated[tuple[Natural, ...], Field(strict=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
T = TypeVar("T")
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


def _known_lints(codes: str | tuple[str, ...]) -> str | tuple[str, ...]:
    for code in (codes,) if isinstance(codes, str) else codes:
        if code not in CODES or not code.startswith("W"):
            known = [code for code in CODES if code.startswith("W")]
            close = nearest(code, known)
            help = f"did you mean {close}?" if close else f"lints are {', '.join(known)}"
            raise ValueError(f"there is no lint {code}", help)
    return codes


Codes = Annotated[
    str | Annotated[tuple[str, ...], Field(strict=False)], AfterValidator(_known_lints)
]
"""One code of a lint, or several."""

COMMON = ("name", "when", "allow")
"""What every layer takes and no torch module does."""

AXES: dict[int, tuple[str, ...]] = {1: ("length",), 2: ("height", "width"),
                                    3: ("depth", "height", "width")}  # fmt: skip
"""The names of the spatial axes, by how many there are."""


Carried = tuple[tuple[int, ...], ...]
"""For each axis of a shape the axes of the input that it carries: () for channels, one for a
spatial axis, several after a flatten."""

PLAIN: tuple[Carried, ...] = tuple(((), *((n,) for n in range(axes))) for axes in range(4))
"""What the axes of [features], [C, L], [C, H, W] and [C, D, H, W] carry as long as none moved."""


class Tensor(NamedTuple):
    """A tensor as the calculator sees it: its sizes and what each position sees of the input."""

    shape: Shape
    fields: Fields
    extents: Shape
    """Positions along each axis of the input; kept through a flatten, which hides them."""
    carried: Carried

    @classmethod
    def start(cls, shape: Shape) -> "Tensor":
        """The input itself."""
        axes = len(shape) - 1
        return cls(shape, (geometry.POINT,) * axes, shape[1:], PLAIN[axes])

    def after(self, shape: Shape, fields: Fields, carried: Carried) -> "Tensor":
        """The tensor behind a layer."""
        if carried is PLAIN[len(fields)]:
            return Tensor(shape, fields, shape[1:], carried)
        extents = list(self.extents)
        for size, axes in zip(shape, carried, strict=True):
            if len(axes) == 1:
                extents[axes[0]] = size
        return Tensor(shape, fields, tuple(extents), carried)


class Extra:
    """Numbers that autograd keeps beside a layer's input and output."""

    __slots__ = ("each", "gpu", "numbers", "width")

    def __init__(
        self, numbers: int, width: int = 0, *, gpu: int | None = None, each: bool = True
    ) -> None:
        self.numbers, self.each = numbers, each
        """How many, and whether for each sample; else they serve the batch."""
        self.width = width
        """Bytes of one; 0 where they are of the type that the layer computes in."""
        self.gpu = gpu
        """Bytes of one on a GPU, where torch keeps something else there."""

    def bytes(self, width: int, gpu: bool) -> int:
        """All of them, for a layer that computes in a type of `width` bytes."""
        if gpu and self.gpu is not None:
            return self.gpu * self.numbers
        return (self.width or width) * self.numbers


class Saved:
    """What autograd keeps of a layer in a training step until its backward pass.

    Parameters, which are there anyway, are left out. `view` says that the output lies in the memory
    of the input, `gradient` that a gradient passes through the layer.
    """

    __slots__ = ("extras", "gradient", "input", "output", "view")

    def __init__(
        self,
        *extras: Extra,
        input: bool = False,
        output: bool = False,
        view: bool = False,
        gradient: bool = True,
    ) -> None:
        self.extras, self.input, self.output = extras, input, output
        self.view, self.gradient = view, gradient


class Layer(BaseModel):
    """A layer with its arguments, named and defaulted as in torch.nn.

    A subclass gives its fields, then what follows from them for an input of a given shape. The
    argument named by `main` may be given without its name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    kind: ClassVar[str]
    main: ClassVar[str | None] = None
    name: Name | None = None
    when: bool = True
    """Whether the layer is there at all."""
    allow: Codes = ()
    """The lints that are not told of it and of what it holds."""

    if not TYPE_CHECKING:  # to a type checker, `main` is the field with kw_only=False

        def __init__(self, *main: Any, **arguments: Any) -> None:
            if main:
                (arguments[self.main or "the only argument"],) = main
            super().__init__(**arguments)

    @property
    def word(self) -> str:
        """What stands for the layer in a spec."""
        return self.kind

    def output_shape(self, shape: Shape) -> Shape:
        """The shape that comes out for `shape`. Raises Fault where torch would refuse it."""
        return shape

    def arguments(self, shape: Shape) -> dict[str, Any]:
        """The arguments of the torch module, inferred ones included."""
        return {name: getattr(self, name) for name in type(self).model_fields if name not in COMMON}

    def params(self, shape: Shape) -> int:
        """Trainable numbers."""
        return 0

    def buffers(self, shape: Shape) -> int:
        """Numbers kept in the state that are not trained."""
        return 0

    def macs(self, shape: Shape, output: Shape) -> int:
        """Multiply-accumulates for one sample, bias left out."""
        return 0

    def saved(self, shape: Shape, output: Shape) -> Saved:
        """What autograd keeps until the backward pass, as torch does it."""
        return Saved()

    def see(self, tensor: Tensor) -> Fields:
        """What each position of the output sees; normalisation statistics are not counted."""
        return tensor.fields

    def carry(self, tensor: Tensor) -> Carried:
        """Which axes of the input each axis of the output carries."""
        return tensor.carried

    def formula(self, shape: Shape, output: Shape) -> str:
        """How the output's sizes come about, with the numbers put in; "" where nothing changes."""
        return ""


class Inplace(Layer):
    """A layer that torch can also compute in the memory of its input."""

    inplace: bool = False

    def saved(self, shape: Shape, output: Shape) -> Saved:
        return Saved(Extra(prod(shape)), view=True) if self.inplace else Saved(input=True)


def keeps_input(layer: Layer, shape: Shape, output: Shape) -> Saved:
    """For `saved` of a layer whose gradient follows from its input."""
    return Saved(input=True)


def keeps_output(layer: Layer, shape: Shape, output: Shape) -> Saved:
    """For `saved` of a layer whose gradient follows from its output."""
    return Saved(output=True, view=getattr(layer, "inplace", False))


def keeps_either(layer: Inplace, shape: Shape, output: Shape) -> Saved:
    """For `saved` of a layer that keeps its input, and in place its output."""
    return Saved(output=True, view=True) if layer.inplace else Saved(input=True)


class Window(Layer):
    """A layer that slides a window over the spatial axes."""

    def windows(self, spatial: Shape) -> tuple[geometry.Window, ...]:
        """The window along each axis."""
        raise NotImplementedError

    @staticmethod
    def look(field: geometry.Field, window: geometry.Window) -> geometry.Field:
        """What is seen through a window."""
        return geometry.see(field, window)

    def see(self, tensor: Tensor) -> Fields:
        return slide(tensor, self.windows(tensor.shape[1:]), self.look)


def slide(
    tensor: Tensor, windows: Iterable[T], see: Callable[[geometry.Field, T], geometry.Field]
) -> Fields:
    """The fields of a layer that looks through a window along each axis but the first."""
    fields, windows = tensor.fields, tuple(windows)
    if tensor.carried is PLAIN[len(fields)]:
        if len(fields) == 2 and fields[0] is fields[1] and windows[0] == windows[1]:
            return (see(fields[0], windows[0]),) * 2  # the most common case, at half the cost
        return tuple(map(see, fields, windows))
    for axis, window in enumerate(windows, 1):
        if len(tensor.carried[axis]) == 1:
            (at,) = tensor.carried[axis]
            fields = *fields[:at], see(fields[at], window), *fields[at + 1 :]
        elif window != geometry.ONE:  # axes were merged: what is near along it may be anywhere
            fields = everything(tensor._replace(fields=fields), axis)
    return fields


def everything(tensor: Tensor, *axes: int) -> Fields:
    """The fields of a layer that looks at all positions along some axes of its input at once."""
    carried = {at for axis in axes for at in tensor.carried[axis]}
    return tuple(
        geometry.see_all(field, tensor.extents[at]) if at in carried else field
        for at, field in enumerate(tensor.fields)
    )


def merged(*carried: tuple[int, ...]) -> tuple[int, ...]:
    """What an axis carries that was made of several."""
    axes: tuple[int, ...] = sum(carried, ())
    # twice the same: its positions are no longer those of the one axis that it carries
    return axes * 2 if len(axes) == 1 < len(carried) else axes


def mixed(tensor: Tensor) -> Tensor:
    """The tensor before a layer that mixes channels: where a spatial axis was made the channels,
    all of it is seen."""
    if not tensor.carried[0]:
        return tensor
    return Tensor(tensor.shape, everything(tensor, 0), tensor.extents, ((), *tensor.carried[1:]))


def spatial(layer: Layer, shape: Shape) -> Shape:
    """The spatial sizes of a [C, ...] shape. Raises Fault for a shape without 1 to 3 of them."""
    if not 2 <= len(shape) <= 4:
        raise Fault(
            "E201",
            f"{layer.kind} needs an input of [C, L], [C, H, W] or [C, D, H, W], "
            f"but gets {show(shape)}",
            help=_unflattened(layer) if len(shape) == 1 else "an input has at most 3 spatial axes",
        )
    return shape[1:]


FORMS = ("[features]", "[C, L]", "[C, H, W]", "[C, D, H, W]")
"""How shapes are written, by the number of spatial axes."""


def of_rank(layer: Layer, shape: Shape, *ranks: int) -> Shape:
    """The axes behind the first of a shape with one of some numbers of them. Raises Fault."""
    axes = len(shape) - 1
    if axes in ranks:
        return shape[1:]
    mend = ""
    if axes == 0:
        mend = _unflattened(layer)
    elif axes == 1 and 2 in ranks:
        mend = (
            f"unflatten: {{dim: 2, unflattened_size: [1, {shape[1]}]}} before it "
            f"makes it [{shape[0]}, 1, {shape[1]}]"
        )
    raise Fault(
        "E201",
        f"{layer.kind} needs an input of {' or '.join(FORMS[rank] for rank in ranks)}, "
        f"but gets {show(shape)}",
        help=mend,
    )


def _unflattened(layer: Layer) -> str:
    """The mend for a layer that needs space and meets features."""
    move = "move it before the layer that flattens"
    made = getattr(layer, "out_channels", None)
    return f"write linear: {made} in its place, or {move}" if made else move


def per_axis(layer: Layer, argument: str, value: Any, axes: int) -> Shape:
    """An int-or-tuple argument as one number for each axis. Raises Fault for another length."""
    if isinstance(value, int):
        return (value,) * axes
    if len(value) == axes:
        return tuple(value)
    likely = value[-axes:] if len(value) > axes else (*value, *value[-1:] * (axes - len(value)))
    raise Fault(
        "E204",
        f"{layer.kind} has {len(value)} values in {argument}, {list(value)}, "
        f"but its input has {axes} spatial {'axis' if axes == 1 else 'axes'}",
        argument=argument,
        help=f"write {argument}: {plainly(likely)}" if value else "give one number for all axes",
    )


def plainly(values: Sequence[Any]) -> str:
    """One number for each axis, as it is written: once where all are the same."""
    each = ["null" if value is None else f"{value}" for value in values]
    return each[0] if len(set(each)) == 1 else f"[{', '.join(each)}]"


def nearest_divisor(number: int, near: int) -> int:
    """The divisor of a number that is nearest to another; not far away 1, at worst."""
    for away in range(min(number, 10_000)):
        for divisor in (near - away, near + away):
            if divisor > 0 and number % divisor == 0:
                return divisor
    return gcd(number, near)


def assert_size(layer: Layer, argument: str, given: int | None, real: int) -> None:
    """An input size that is given is a claim. Raises Fault with both numbers where it is wrong."""
    if given is not None and given != real:
        raise Fault(
            "E202",
            f"{layer.kind} is given {argument} {given}, but its input has {real}",
            argument=argument,
            note=f"is {real}",
            help=f"write {argument}: {real}, or leave it out: it is inferred",
            mended={argument: None},
        )


def fits(
    layer: Layer, sizes: Shape, paddings: Sequence[int], kernels: Shape, dilations: Shape
) -> None:
    """Each window must fit into its padded input. Raises Fault with the size that is needed.

    `paddings` are those of both sides together.
    """
    extents = map(geometry.extent, kernels, dilations)
    needed = tuple(max(1, e - p) for e, p in zip(extents, paddings, strict=True))
    if all(map(operator.ge, sizes, needed)):
        return
    room = map(operator.add, sizes, paddings)
    largest = min((r - 1) // d + 1 for r, d in zip(room, dilations, strict=True))
    mends = [f"the largest kernel_size that fits here is {largest}"] if largest > 1 else []
    if layer.kind == "avg_pool":
        mends.append("adaptive_avg_pool: 1 in its place takes any size")
    raise Fault(
        "E203",
        f"{layer.kind} needs an input of at least {times(needed)}, but gets {times(sizes)}",
        argument="kernel_size",
        help="; or ".join(mends),
    )


def nonempty(layer: Layer, shape: Shape, output: Shape, mend: str = "") -> Shape:
    """The output, when it has elements. Raises Fault otherwise."""
    if min(output) >= 1:
        return output
    message = f"{layer.kind} makes {show(output)} of {show(shape)}, which is empty"
    raise Fault("E205", message, help=mend)


def times(sizes: Sequence[int]) -> str:
    """Sizes as people write them: 2x2."""
    return "x".join(map(str, sizes))


def show(shape: Shape) -> str:
    return f"[{', '.join(map(str, shape))}]"


def each_axis(lines: Sequence[str]) -> str:
    """The formulas of all axes, written once where they are the same."""
    return lines[0] if len(set(lines)) == 1 else "; ".join(lines)
