"""Random nested networks, and a judge that runs them in torch layer by layer.

The judge reads the short form by itself: it shares no code with the language, the calculator or
the builder, and Python evaluates the expressions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

Shape = tuple[int, ...]
Layers = list[Any]


class Graph(NamedTuple):
    shape: Shape
    blocks: dict[str, Layers]
    """Each takes one parameter, n."""
    layers: Layers


class Judged(NamedTuple):
    shapes: dict[str, Shape]
    """The output of every layer by its path, containers included."""
    params: int


class _Refused(Exception):
    pass


class TooLarge(Exception):
    """A graph whose tensors have grown beyond what is quick to run."""


MOST = 100_000


def judge(graph: Graph) -> Judged | None:
    """What torch makes of a graph; None where it refuses a layer or nothing is left.

    Raises TooLarge.
    """
    run = _Run(graph.blocks)
    try:
        with torch.no_grad():
            run.layers(graph.layers, torch.zeros(2, *graph.shape), "", {})
    except (_Refused, RuntimeError, ValueError, TypeError, IndexError, AssertionError):
        return None
    return Judged(run.shapes, run.params)


class _Run:
    def __init__(self, blocks: dict[str, Layers]) -> None:
        self.blocks = blocks
        self.shapes: dict[str, Shape] = {}
        self.params = 0
        self.saved: dict[str, Tensor] = {}

    def layers(self, layers: Layers, x: Tensor, prefix: str, scope: dict[str, Any]) -> Tensor:
        for index, layer in enumerate(layers):
            kind, value = (layer, None) if isinstance(layer, str) else next(iter(layer.items()))
            arguments = value if isinstance(value, dict) else {}
            if "when" in arguments and not _value(arguments["when"], x, scope):
                continue
            name = arguments.get("name")
            path = (
                f"{prefix or 'layers'}.{index}" if name is None else f"{prefix}.{name}".strip(".")
            )
            x = self.layer(kind, value, x, path, scope)
        return x

    def layer(self, kind: str, value: Any, x: Tensor, path: str, scope: dict[str, Any]) -> Tensor:
        self.shapes[path] = ()
        out = self.structure(kind, value, x, path, scope)
        if out is None:
            arguments = value if isinstance(value, dict) else {} if value is None else {"": value}
            given = {
                key: _value(item, x, scope)
                for key, item in arguments.items()
                if key not in ("name", "when")
            }
            out = self.leaf(kind, given, x)
        if out.numel() > MOST:
            raise TooLarge
        if out.shape[0] != 2 or out.dim() < 2 or 0 in out.shape:
            raise _Refused
        self.shapes[path] = tuple(out.shape[1:])
        return out

    def leaf(self, kind: str, given: dict[str, Any], x: Tensor) -> Tensor:
        axes = x.dim() - 2
        module = MODULES[kind](axes, given)
        if any(p <= 0 for p in (axes,)) and kind in SPATIAL:
            raise _Refused
        module.eval()
        out: Tensor = module(x)
        self.params += sum(parameter.numel() for parameter in module.parameters())
        return out

    def structure(
        self, kind: str, value: Any, x: Tensor, path: str, scope: dict[str, Any]
    ) -> Tensor | None:
        given = value if isinstance(value, dict) else {"layers": value}
        if kind in self.blocks:
            n = _value(value["n"] if isinstance(value, dict) else value, x, scope)
            return self.layers(self.blocks[kind], x, path, {"n": n})
        match kind:
            case "sequential":
                return self.layers(given["layers"], x, path, scope)
            case "repeat":
                return self.repeat(given, x, path, scope)
            case "residual":
                main = self.layers(given["layers"], x, f"{path}.layers", scope)
                shortcut = given.get("shortcut", True)
                if shortcut is False:
                    return main
                side = x
                if shortcut is not True:
                    side = self.layers(shortcut, x, f"{path}.shortcut", scope)
                if main.shape != side.shape:  # stricter than torch, which would broadcast
                    raise _Refused
                return main + side
            case "branches":
                parts = [x] * len(given["layers"])
                if "split" in given:
                    if given["split"] != len(parts) or x.shape[1] % given["split"]:
                        raise _Refused
                    parts = list(x.chunk(given["split"], 1))
                outs = [
                    self.layers(branch, part, f"{path}.{number}", scope)
                    for number, (branch, part) in enumerate(
                        zip(given["layers"], parts, strict=True)
                    )
                ]
                return _merge(given.get("merge", "concat"), outs)
            case "save":
                self.saved[value] = x
                return x
            case "concat" | "add" | "multiply":
                names = [value] if isinstance(value, str) else value
                if not set(names) <= set(self.saved):
                    raise _Refused
                return _merge(kind, [x, *(self.saved[name] for name in names)])
        return None

    def repeat(self, given: dict[str, Any], x: Tensor, path: str, scope: dict[str, Any]) -> Tensor:
        for turn in range(_value(given["times"], x, scope)):
            inner = {**scope, given["index"]: turn} if "index" in given else scope
            here, body = f"{path}.{turn}", given["layers"]
            single = len(body) < 2 and not (
                body
                and isinstance(body[0], dict)
                and isinstance(next(iter(body[0].values())), dict)
                and "name" in next(iter(body[0].values()))
            )
            if not body:
                continue
            if not single:
                x = self.layer("sequential", {"layers": body}, x, here, inner)
                continue
            kind, value = (
                (body[0], None) if isinstance(body[0], str) else next(iter(body[0].items()))
            )
            if isinstance(value, dict) and not _value(value.get("when", True), x, inner):
                continue
            x = self.layer(kind, value, x, here, inner)
        return x


def _merge(how: str, tensors: list[Tensor]) -> Tensor:
    if how == "concat":
        return torch.cat(tensors, 1)
    out = tensors[0]
    for other in tensors[1:]:
        if out.dim() != other.dim() or (how == "add" and out.shape != other.shape):
            raise _Refused  # stricter than torch, which would broadcast
        out = out + other if how == "add" else out * other
    return out


def _value(value: Any, x: Tensor, scope: dict[str, Any]) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_value(item, x, scope) for item in value)
    if not isinstance(value, str) or "${" not in value:
        return value
    (code,) = re.fullmatch(r"\$\{(.*)\}", value).groups()  # type: ignore[union-attr]
    sizes = dict(zip(_NAMES[x.dim()], x.shape[1:], strict=True))
    return eval(code, {}, {**scope, "x": SimpleNamespace(**sizes)})


_NAMES = {
    2: ("features",),
    3: ("channels", "length"),
    4: ("channels", "height", "width"),
    5: ("channels", "depth", "height", "width"),
}


def _lazy(name: str, main: str) -> Callable[[int, dict[str, Any]], nn.Module]:
    def make(axes: int, given: dict[str, Any]) -> nn.Module:
        arguments = {key or main: value for key, value in given.items()}
        module: nn.Module = getattr(nn, name.format(max(axes, 1)))(**arguments)
        return module

    return make


MODULES: dict[str, Callable[[int, dict[str, Any]], nn.Module]] = {
    "conv": _lazy("LazyConv{}d", "out_channels"),
    "conv_transpose": _lazy("LazyConvTranspose{}d", "out_channels"),
    "max_pool": _lazy("MaxPool{}d", "kernel_size"),
    "avg_pool": _lazy("AvgPool{}d", "kernel_size"),
    "adaptive_avg_pool": _lazy("AdaptiveAvgPool{}d", "output_size"),
    "batch_norm": _lazy("LazyBatchNorm{}d", "num_features"),
    "constant_pad": lambda axes, given: getattr(nn, f"ConstantPad{axes}d")(given[""], 0.0),
    "upsample": _lazy("Upsample", "scale_factor"),
    "channel_shuffle": _lazy("ChannelShuffle", "groups"),
    "linear": _lazy("LazyLinear", "out_features"),
    "flatten": _lazy("Flatten", "start_dim"),
    "dropout": _lazy("Dropout", "p"),
    "relu": _lazy("ReLU", "inplace"),
    "tanh": _lazy("Tanh", ""),
}
SPATIAL = {
    *("conv", "conv_transpose", "max_pool", "avg_pool", "adaptive_avg_pool"),
    *("constant_pad", "upsample", "channel_shuffle"),
}

ints = st.integers
_keep = st.sampled_from(["relu", "tanh", "batch_norm", {"dropout": 0.3}])


@st.composite
def graphs(draw: Any) -> Graph:
    """Networks of up to four levels, of which about a half fit together."""
    axes = draw(ints(1, 3))
    shape = (draw(st.sampled_from([2, 4, 6])), *draw(st.tuples(*[ints(1, 8)] * axes)))
    blocks = {}
    for name in draw(st.sampled_from([(), ("piece",), ("piece", "part")])):
        blocks[name] = draw(_layers(2, ("n",), tuple(blocks)))
    layers = draw(_layers(3, (), tuple(blocks)))
    if draw(st.booleans()):
        layers = [*layers, "flatten", {"linear": draw(ints(1, 5))}]
    return Graph(shape, blocks, layers)


@st.composite
def _layers(draw: Any, depth: int, names: tuple[str, ...], blocks: tuple[str, ...]) -> Layers:
    count = draw(ints(0 if depth < 3 else 1, 4))
    return [draw(_layer(depth, names, blocks, index)) for index in range(count)]


@st.composite
def _channels(draw: Any, names: tuple[str, ...]) -> Any:
    """A number of channels: mostly that of the tensor at hand, so that merges fit."""
    words = ["${x.channels}"] * 4 + ["${2 * x.channels}", 4]
    return draw(st.sampled_from([*words, *(f"${{{name} + 2}}" for name in names)]))


@st.composite
def _layer(draw: Any, depth: int, names: tuple[str, ...], blocks: tuple[str, ...], at: int) -> Any:
    leaf = draw(ints(0, 9)) < (5 if depth else 10)
    layer = draw(_leaf(names)) if leaf else draw(_structure(depth - 1, names, blocks))
    if isinstance(layer, dict) and draw(ints(0, 9)) == 0:
        ((kind, value),) = layer.items()
        if isinstance(value, dict):
            extra = {"name": f"part{at}"} if draw(st.booleans()) else {"when": draw(_when(names))}
            return {kind: {**value, **extra}}
    return layer


def _when(names: tuple[str, ...]) -> st.SearchStrategy[Any]:
    tests = ["${x.channels > 4}", "${x.channels % 4 == 0}", *(f"${{{n} > 0}}" for n in names)]
    return st.booleans() | st.sampled_from(tests)


@st.composite
def _leaf(draw: Any, names: tuple[str, ...]) -> Any:
    kind = draw(ints(0, 11))
    channels = draw(_channels(names))
    if kind < 3:
        kernel = draw(st.sampled_from([1, 3, 3, 5]))
        same = {"out_channels": channels, "kernel_size": kernel, "padding": kernel // 2}
        return {"conv": {**same, "stride": draw(st.sampled_from([1, 1, 1, 2]))}}
    if kind == 3:
        up = {"out_channels": channels, "kernel_size": 2, "stride": 2}
        return {"conv_transpose": up}
    if kind == 4:
        size = draw(ints(2, 3))
        pool = {"kernel_size": size, "stride": draw(ints(1, 2)), "ceil_mode": draw(st.booleans())}
        return {draw(st.sampled_from(["max_pool", "avg_pool"])): pool}
    if kind == 5:
        return draw(
            st.sampled_from(
                [
                    {"adaptive_avg_pool": 1},
                    {"adaptive_avg_pool": 4},
                    {"constant_pad": 1},
                    {"upsample": 2},
                    {"channel_shuffle": 2},
                    {"max_pool": "${2 if x.channels > 3 else 1}"},
                ]
            )
        )
    if kind == 6:
        return {"save": draw(st.sampled_from(["a", "b"]))}
    if kind == 7:
        tensors = draw(st.sampled_from(["a", "a", "b", ["a", "b"]]))
        return {draw(st.sampled_from(["concat", "add", "multiply"])): tensors}
    return draw(_keep)


@st.composite
def _structure(draw: Any, depth: int, names: tuple[str, ...], blocks: tuple[str, ...]) -> Any:
    inner = _layers(depth, names, blocks)
    kind = draw(ints(0, 9))
    if kind < 2:
        return {"sequential": {"layers": draw(inner)}}
    if kind < 4:
        body = draw(_layers(depth, (*names, "i"), blocks))
        return {"repeat": {"times": draw(ints(0, 3)), "index": "i", "layers": body}}
    if kind < 6:
        residual: dict[str, Any] = {"layers": draw(inner)}
        if draw(ints(0, 2)) == 0:
            residual["shortcut"] = draw(st.booleans() | inner)
        return {"residual": residual}
    if kind < 8 or not blocks:
        count = draw(ints(1, 3))
        branches: dict[str, Any] = {
            "layers": [draw(inner) for _ in range(count)],
            "merge": draw(st.sampled_from(["concat", "concat", "add", "multiply"])),
        }
        if draw(ints(0, 3)) == 0:
            branches["split"] = draw(st.sampled_from([count, count, 2]))
        return {"branches": branches}
    given = draw(ints(1, 3) | st.sampled_from(["${x.channels}", *(f"${{{n}}}" for n in names)]))
    return {draw(st.sampled_from(blocks)): {"n": given}}
