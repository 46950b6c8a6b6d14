"""What of a spec `solve` may vary: the values, what else they could be, and how far that is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import log2
from typing import Any

from shapecalc.analysis.program import tried
from shapecalc.diagnostics import Fault, SpecError, nearest
from shapecalc.geometry import extent
from shapecalc.language.expressions import has_expression
from shapecalc.language.items import make_layer
from shapecalc.language.replace import item_at
from shapecalc.language.source import Origin
from shapecalc.language.spec import Spec
from shapecalc.language.writer import given_arguments
from shapecalc.layers import Layer
from shapecalc.layers.base import COMMON, Shape
from shapecalc.layers.structure import Call
from shapecalc.tracer import Row, Trace

WINDOWS = ("conv", "conv_transpose", "max_pool", "avg_pool", "lp_pool", "unfold")
"""The kinds whose window may vary."""

ARGUMENTS = ("kernel_size", "stride", "padding", "dilation", "output_padding")
WIDTHS = ("out_channels", "out_features")

GLOBAL = ("input", "width", "batch_size")
"""What `--vary` takes besides layers, their arguments and params."""


@dataclass(frozen=True)
class Change:
    """One value that is changed."""

    path: str
    """The layer that it belongs to; or `input`, `width`, `batch_size`, `params.NAME`."""
    argument: str
    """The layer's argument; "" for what belongs to no layer."""
    old: Any
    new: Any
    values: tuple[tuple[Origin, Any], ...] = field(repr=False)
    """What is written where; several places for a width."""
    layers: int = 1
    """The layers of the network that it changes, where one written in a block or repeat is many."""
    note: str = ""
    """What changes along."""


@dataclass(frozen=True)
class Move:
    """One or two changes of one layer, as the search uses them."""

    changes: tuple[Change, ...]
    size: float
    layers: dict[int, Layer]
    """The changed layer for each step of the program."""


@dataclass
class Site:
    """A layer at its place in the document, with what may vary of it."""

    path: str
    origin: Origin
    rows: list[Row]
    steps: list[int]
    """Where the program has it."""
    arguments: list[str]

    @property
    def first(self) -> int:
        return self.steps[0]

    @property
    def last(self) -> int:
        return self.steps[-1]

    def singles(self, wanted: Wanted) -> list[Move]:
        """Every change of one argument."""
        return [
            self._move(((argument, value),), size)
            for argument, value, size in self._values(wanted)
            if self._is_sound(((argument, value),))
        ]

    def doubles(self, wanted: Wanted) -> list[Move]:
        """Every change of two arguments."""
        values = self._values(wanted)
        return [
            self._move(pair, size + other_size)
            for index, (argument, value, size) in enumerate(values)
            for other, other_value, other_size in values[index + 1 :]
            if other != argument
            if self._is_sound(pair := ((argument, value), (other, other_value)))
        ]

    def _values(self, wanted: Wanted) -> list[tuple[str, Any, float]]:
        return [
            (argument, value, distance(argument, self.old(argument), value))
            for argument in self.arguments
            for value in self._candidates(argument, wanted)
        ]

    def old(self, argument: str) -> Any:
        """The value today; that which stands for it where none is given."""
        return self._olds[argument]

    @cached_property
    def _olds(self) -> dict[str, Any]:
        return self.rows[0].arguments

    def _candidates(self, argument: str, wanted: Wanted) -> Iterator[Any]:
        old, axes = self.old(argument), len(self.rows[0].input_shape) - 1
        if argument in WIDTHS:
            yield from wanted.widths(old)
            return
        stride = self.old("stride")
        numbers = {
            "kernel_size": range(1, 12),
            "stride": range(1, 9),
            "padding": range(6),
            "dilation": range(1, 5),
            "output_padding": range(max(stride) if isinstance(stride, tuple) else stride),
        }[argument]
        if old in ("same", "valid"):
            yield from numbers
            return
        if argument == "padding" and self.rows[0].kind == "conv" and self._has_even_kernel():
            yield "same"  # which no number is then
        if isinstance(old, int):
            yield from (number for number in numbers if number != old)
            old = (old,) * axes
            if wanted.is_square or axes < 2:
                return
        for step in range(-10, 11) if isinstance(self.old(argument), tuple) else ():
            moved = tuple(number + step for number in old)
            if step and all(number in numbers for number in moved):
                yield moved
        for axis in range(len(old)):
            for number in numbers:
                if number != old[axis]:
                    yield (*old[:axis], number, *old[axis + 1 :])

    def _has_even_kernel(self) -> bool:
        kernel = self.old("kernel_size")
        return any(k % 2 == 0 for k in ((kernel,) if isinstance(kernel, int) else kernel))

    def _is_sound(self, values: tuple[tuple[str, Any], ...]) -> bool:
        """Whether a padding is not more than half of its kernel, unless it was so before."""
        given = dict(values)
        if not given.keys() & {"padding", "kernel_size"} or "padding" not in self._olds:
            return True

        def spare(of: dict[str, Any]) -> int:
            if isinstance(of["padding"], str):
                return 0
            axes = len(self.rows[0].input_shape) - 1
            kernels, dilations, paddings = (
                (value,) * axes if isinstance(value := of.get(name, 1), int) else value
                for name in ("kernel_size", "dilation", "padding")
            )
            pairs = zip(kernels, dilations, paddings, strict=False)
            least: int = min(extent(k, d) // 2 - pad for k, d, pad in pairs)
            return least

        return spare({**self._olds, **given}) >= min(0, spare(self._olds))

    def changed(self, values: dict[str, Any]) -> dict[int, Layer]:
        """The layer with other arguments, for each of its steps at which it takes them."""
        layers = {}
        for step, row in zip(self.steps, self.rows, strict=True):
            layer, _ = make_layer(row.kind, {**given_arguments(row.layer), **values})
            if layer is not None:
                layers[step] = layer
        return layers

    def _note(self, argument: str, values: tuple[tuple[str, Any], ...]) -> str:
        """What changes along: a pool without a stride of its own moves by its kernel."""
        row = self.rows[0]
        moves = argument == "kernel_size" and row.kind.endswith("_pool")
        if moves and getattr(row.layer, "stride", 0) is None and "stride" not in dict(values):
            return "and with it the stride"
        return ""

    def _move(self, values: tuple[tuple[str, Any], ...], size: float) -> Move:
        changes = tuple(
            Change(
                self.path,
                argument,
                self.old(argument),
                value,
                (((*self.origin, argument), value),),
                len(self.rows),
                self._note(argument, values),
            )
            for argument, value in values
        )
        return Move(changes, size, self.changed(dict(values)))


@dataclass(frozen=True)
class Wanted:
    """What the goals say of the values that are worth trying."""

    is_square: bool
    """Whether all axes may be treated alike."""
    channels: int | None = None
    """Channels or features that the output is to have, where it has others."""
    features: int | None = None
    """In-features that are to be reached."""
    is_costly: bool = False
    """Whether parameters or MACs are to be fewer."""

    def widths(self, old: int) -> Iterator[int]:
        """Other channels that a layer could have."""
        numbers = (
            {8 * n for n in range(max(1, old // 32), old // 2 + 1)} if self.is_costly else set()
        )
        if self.channels:
            numbers.add(self.channels)
        if self.features:
            few, many = max(1, old // 4), old * 4
            numbers |= {n for n in range(few, many + 1) if self.features % n == 0}
        yield from sorted(numbers - {old})


def distance(argument: str, old: Any, new: Any) -> float:
    """How large a change is: 1 for twice or half as much; of a padding, one more is counted."""
    if isinstance(old, str) or isinstance(new, str):
        return 1.0
    if isinstance(old, tuple) or isinstance(new, tuple):
        axes = len(old) if isinstance(old, tuple) else len(new)
        olds = old if isinstance(old, tuple) else (old,) * axes
        news = new if isinstance(new, tuple) else (new,) * axes
        uneven = 0.25 * (len(set(news)) > len(set(olds)))
        sizes = (distance(argument, a, b) for a, b in zip(olds, news, strict=True))
        return sum(sizes) / axes + uneven
    from_zero = argument in ("padding", "output_padding")
    size = abs(log2((new + from_zero) / (old + from_zero)))
    if argument == "kernel_size" and old % 2 and not new % 2:
        size += 0.25
    if argument == "input":
        size += 0.02 * sum(old % step == 0 and new % step != 0 for step in (8, 16, 32))
    return size


@dataclass(frozen=True)
class GlobalMove:
    """A change of more than one layer: what is varied, and the spec that comes of it."""

    knob: str
    change: Change
    size: float


class Selection:
    """What is varied: what `names` name, of layers by their paths the `arguments`."""

    def __init__(self, traced: Trace, names: Sequence[str], arguments: Sequence[str]) -> None:
        self.trace, self.spec = traced, traced.spec
        self.sites: dict[Origin, Site] = {}
        self.globals: list[str] = []
        """input, width, batch_size and `params.NAME`."""
        self.fixed: list[str] = []
        """What was left alone because an expression gives it."""
        self.is_width: dict[str, bool] = {}
        """Of params that are an argument of a layer, whether that is its width."""
        self._arguments = arguments
        self._at: dict[Origin, list[Row]] = {}
        for row in traced.leaves:
            self._at.setdefault(row.at.origin, []).append(row)
        for name in names:
            self._take(name)
        self.globals = list(dict.fromkeys(self.globals))

    def _take(self, name: str) -> None:
        """Let what a name stands for vary. Raises Fault."""
        if name == "train.batch_size":
            name = "batch_size"
        if name in GLOBAL:
            if name == "input" and len(self.trace.input_shape) < 2:
                raise Fault("E109", "--vary input: the input has no spatial axes")
            if name == "input" and any(isinstance(size, str) for size in self.spec.input[1:]):
                raise Fault("E109", "--vary input: an expression gives its sizes",
                            help="name the param in it: --vary params.NAME")  # fmt: skip
            self.globals.append(name)
            return
        if name.startswith("params."):
            self._take_param(name)
            return
        for row in self.trace.rows:
            if name == row.path:
                inside = f"{name}."
                rows = [r for r in self.trace.leaves if r.path == name or r.path.startswith(inside)]
                self._take_rows(rows, exactly=not row.is_container)
                return
        if name == "layers":
            self._take_rows(list(self.trace.leaves))
            return
        path, _, argument = name.rpartition(".")
        rows = [row for row in self.trace.leaves if row.path == path]
        if not rows:
            raise self._unknown(name)
        if argument not in self._possible(rows[0], (*ARGUMENTS, *WIDTHS)):
            known = self._possible(rows[0], (*ARGUMENTS, *WIDTHS))
            close = nearest(argument, known)
            has = f"of {path} can vary: {', '.join(known)}" if known else f"nothing of {path} can"
            raise Fault(
                "E109",
                f"--vary {name}: {rows[0].kind} has no {argument} that can vary",
                help=f"did you mean {path}.{close}?" if close else has,
            )
        self._add(rows[0], argument)

    def _unknown(self, name: str) -> Fault:
        known = [row.path for row in self.trace.rows]
        known += [f"{row.path}.{a}" for row in self.trace.leaves for a in self._possible(row)]
        known += [*GLOBAL, *(f"params.{param}" for param in self.spec.params)]
        close = nearest(name, known)
        return Fault(
            "E109",
            f"--vary {name}: the spec has no such layer",
            help=f"did you mean {close}?" if close else "`shapecalc show` lists the paths",
        )

    def _take_param(self, name: str) -> None:
        param = name.removeprefix("params.")
        value = self.spec.params.get(param)
        if param not in self.spec.params:
            close = nearest(param, self.spec.params)
            help = f"did you mean params.{close}?" if close else ""
            raise Fault("E109", f"--vary {name}: the spec has no such param", help=help)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise Fault("E109", f"--vary {name}: only whole numbers from 1 on can vary")
        self.globals.append(name)

    def _take_rows(self, rows: Iterable[Row], *, exactly: bool = False) -> None:
        for row in rows:
            for argument in self._possible(row, (*ARGUMENTS, *WIDTHS) if exactly else None):
                self._add(row, argument)

    def _possible(self, row: Row, among: Sequence[str] | None = None) -> list[str]:
        """The arguments of a layer that can vary."""
        if row.kind not in WINDOWS and row.kind != "linear":
            return []
        arguments = row.arguments
        return [name for name in (among or self._arguments) if arguments.get(name) is not None]

    def _add(self, row: Row, argument: str) -> None:
        """Let an argument vary, or the param that it is, or note that it is an expression."""
        origin = row.at.origin
        item = item_at(self.spec, origin)
        value = item.arguments.get(argument) if isinstance(item, Call) else None
        if has_expression(value) or (isinstance(item, Call) and has_expression(item.kind)):
            param = param_of(self.spec, row, value)
            if param is None:
                self.fixed.append(f"{row.path}.{argument}")
            else:
                self.globals.append(f"params.{param}")
                self.is_width[param] = argument in WIDTHS
            return
        rows = self._at[origin]
        site = self.sites.setdefault(origin, Site(rows[0].path, origin, rows, [], []))
        if argument not in site.arguments:
            site.arguments.append(argument)


def param_of(spec: Spec, row: Row, value: Any) -> str | None:
    """The param of the spec that an expression is, if it is nothing else."""
    found = re.fullmatch(r"\$\{\s*(\w+)\s*\}", value) if isinstance(value, str) else None
    name = found[1] if found else ""
    if name not in spec.params or row.at.origin[0] == "blocks" or has_expression(spec.params[name]):
        return None
    number = spec.params[name]
    is_index = row.at.scope.get(name) != number  # the index of a repeat has that name
    return None if is_index or not isinstance(number, int) or isinstance(number, bool) else name


def input_moves(shape: Shape, wanted: Wanted, *, coarse: bool) -> list[GlobalMove]:
    """Other spatial sizes of the input, up to a factor of 2; `coarse`: multiples of 8 alone."""
    sizes = shape[1:]
    found = []

    def add(new: Shape) -> None:
        values = tuple(
            (("input", axis), size) for axis, size in enumerate(new, 1) if size != shape[axis]
        )
        whole = (shape[0], *new)
        change = Change("input", "", shape, whole, values)
        found.append(GlobalMove("input", change, distance("input", sizes, new)))

    step = 8 if coarse else 1
    if len(set(sizes)) == 1:
        for size in range(-(-sizes[0] // 2), 2 * sizes[0] + 1):
            if size != sizes[0] and size % step == 0:
                add((size,) * len(sizes))
    if len(set(sizes)) > 1 or not wanted.is_square:
        for axis, old in enumerate(sizes):
            for size in range(-(-old // 2), 2 * old + 1):
                if size != old and size % step == 0:
                    add((*sizes[:axis], size, *sizes[axis + 1 :]))
    return found


def width_moves(traced: Trace, *, coarse: bool) -> list[GlobalMove]:
    """All out_channels and out_features but the last layer's, times 1/8 to 2, as multiples of 8;
    those that expressions give by way of the params that they are made of."""
    rows = [row for row in traced.leaves if _width(row.layer)]
    widths = dict(_widths(traced, rows))
    widths |= {("params", name): traced.spec.params[name] for name in width_params(traced)}
    found: list[GlobalMove] = []
    before: set[Any] = set()
    factors = [step / 8 for step in range(1, 17)] if coarse else [n / 64 for n in range(8, 129)]
    for factor in sorted(factors, key=lambda factor: abs(log2(factor))):
        values = tuple(
            (path, new) for path, old in widths.items() if (new := scaled(old, factor)) != old
        )
        if factor != 1 and values and values not in before:
            before.add(values)
            change = Change("width", "", 1, factor, values)
            found.append(GlobalMove("width", change, abs(log2(factor))))
    return found


def scaled(old: int, factor: float) -> int:
    """A width times a factor, as the nearest multiple of 8; fewer than 8 are left alone."""
    return old if old < 8 else max(8, int(old * factor / 8 + 0.5) * 8)


def width_params(traced: Trace) -> Iterator[str]:
    """The params that are a width: twice as large, they double channels or features within the
    network, and change nothing else of its shapes."""
    spec = traced.spec
    for name, value in spec.params.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 8:
            continue
        try:
            wide = tried(spec.with_params(**{name: 2 * value}))
        except SpecError:
            continue
        pairs = list(zip(traced.rows, wide.rows, strict=False))
        if (
            wide.output_shape == traced.output_shape
            and len(wide.rows) == len(traced.rows)
            and all(_is_as_deep(a, b) for a, b in pairs)
            and any(2 * (_width(a.layer) or 0) == _width(b.layer) for a, b in pairs)
        ):
            yield name


def _is_as_deep(row: Row, wide: Row) -> bool:
    """Whether two rows differ in channels alone."""
    flat = len(row.output_shape) == 1
    shapes = flat or row.output_shape[1:] == wide.output_shape[1:]
    return (row.path, row.kind) == (wide.path, wide.kind) and shapes


def _width(layer: Layer) -> int | None:
    return getattr(layer, "out_channels", None) or getattr(layer, "out_features", None)


def _widths(traced: Trace, rows: list[Row]) -> Iterator[tuple[Origin, int]]:
    """The numbers that are the widths of all layers but the last, and where they are written."""
    for row in rows:
        if row.at.origin == rows[-1].at.origin:
            continue
        item, origin = item_at(traced.spec, row.at.origin), row.at.origin
        given = item.arguments if isinstance(item, Call) else given_arguments(row.layer)
        for name in WIDTHS:
            if isinstance(given.get(name), int):
                yield (*origin, name), given[name]
        groups = given.get("groups", 1)
        if isinstance(groups, int) and groups > 1 and groups == row.input_shape[0]:
            yield (*origin, "groups"), groups


def param_moves(spec: Spec, name: str, values: Iterable[int] | None) -> list[GlobalMove]:
    """Other values of a param: the given ones, else 1 to 11 or within a factor of 2."""
    old = spec.params[name]
    if values is None:
        numbers = range(1, 12) if old <= 11 else range(-(-old // 2), 2 * old + 1)
        values = [number for number in numbers if old <= 64 or number % 8 == 0]
    return [
        GlobalMove(
            f"params.{name}",
            Change(f"params.{name}", "", old, new, ((("params", name), new),)),
            distance("", old, new),
        )
        for new in values
        if new != old
    ]


def batch_move(old: int, new: int) -> GlobalMove:
    """Another batch size."""
    change = Change("batch_size", "", old, new, ((("train", "batch_size"), new),))
    return GlobalMove("batch_size", change, distance("", old, new))


def claims(spec: Spec) -> dict[Origin, int]:
    """The input sizes that layers of a spec claim to have."""
    return dict(_claims(("layers",), spec.layers)) | {
        path: value
        for name, block in spec.blocks.items()
        for path, value in _claims(("blocks", name, "layers"), block.layers)
    }


_CLAIMS = ("in_channels", "in_features", "num_features", "num_channels")


def _claims(origin: Origin, held: Any) -> Iterator[tuple[Origin, int]]:
    if isinstance(held, tuple | list):
        for index, part in enumerate(held):
            step = (index, part.kind) if isinstance(part, Layer | Call) else (index,)
            yield from _claims((*origin, *step), part)
        return
    if isinstance(held, Call):
        arguments = held.arguments
    elif isinstance(held, Layer):
        arguments = {name: getattr(held, name) for name in type(held).model_fields}
    else:
        return
    for name, value in arguments.items():
        if name in _CLAIMS and isinstance(value, int) and not isinstance(value, bool):
            yield (*origin, name), value
        elif name not in COMMON and isinstance(value, tuple | list):
            yield from _claims((*origin, name), value)


def raised(fault: Fault) -> SpecError:
    """A Fault of a goal or of what is to vary, which has no place in the document."""
    return SpecError([fault.at(None)])
