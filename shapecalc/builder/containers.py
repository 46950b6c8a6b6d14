"""Modules made of modules, and those that keep tensors for later.

A tensor kept by `Save` is handed on in a dictionary that lives for one forward pass: it is the
second argument of every module on the way from where it is saved to where it is used. All other
groups are plain `nn.Sequential`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce

import torch
from torch import Tensor, nn

from shapecalc.layers import merge
from shapecalc.tracer import Row

Saved = dict[str, Tensor]

MERGES: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "concat": lambda tensors: torch.cat(tensors, 1),
    "add": lambda tensors: reduce(torch.add, tensors),
    "multiply": lambda tensors: reduce(torch.mul, tensors),
}


class Carrier(nn.Module):
    """A module that may keep tensors, or use kept ones."""

    def forward(self, x: Tensor, saved: Saved | None = None) -> Tensor:
        raise NotImplementedError


def run(module: nn.Module, x: Tensor, saved: Saved) -> Tensor:
    out: Tensor = module(x, saved) if isinstance(module, Carrier) else module(x)
    return out


class Group(Carrier):
    """Modules one after the other, as nn.Sequential, that hand on what is kept."""

    def __init__(self, children: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, module in children.items():
            self.add_module(name, module)

    def forward(self, x: Tensor, saved: Saved | None = None) -> Tensor:
        saved = {} if saved is None else saved
        for module in self.children():
            x = run(module, x, saved)
        return x


class Residual(Carrier):
    """layers(x) + shortcut(x); x itself where there is no shortcut."""

    def __init__(self, layers: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.layers = layers
        self.shortcut = shortcut

    def forward(self, x: Tensor, saved: Saved | None = None) -> Tensor:
        saved = {} if saved is None else saved
        main = run(self.layers, x, saved)
        return main + (x if self.shortcut is None else run(self.shortcut, x, saved))


class Branches(Carrier):
    """Modules side by side on the same input, or on a share of its channels each, then merged."""

    def __init__(self, branches: list[nn.Module], merge: str, split: bool) -> None:
        super().__init__()
        self.merge, self.split = merge, split
        for number, branch in enumerate(branches):
            self.add_module(str(number), branch)

    def forward(self, x: Tensor, saved: Saved | None = None) -> Tensor:
        saved = {} if saved is None else saved
        branches = list(self.children())
        inputs = x.chunk(len(branches), 1) if self.split else [x] * len(branches)
        outputs = [run(b, part, saved) for b, part in zip(branches, inputs, strict=True)]
        return MERGES[self.merge](outputs)

    def extra_repr(self) -> str:
        return f"merge={self.merge}, split={self.split}"


class Save(Carrier):
    """Gives its input on, and keeps it."""

    def __init__(self, tensor: str) -> None:
        super().__init__()
        self.tensor = tensor

    def forward(self, x: Tensor, saved: Saved | None = None) -> Tensor:
        if saved is not None:
            saved[self.tensor] = x
        return x

    def extra_repr(self) -> str:
        return self.tensor


class Merge(Carrier):
    """Its input merged with tensors kept before."""

    def __init__(self, merge: str, tensors: tuple[str, ...]) -> None:
        super().__init__()
        self.merge, self.tensors = merge, tensors

    def forward(self, x: Tensor, saved: Saved | None = None) -> Tensor:
        return MERGES[self.merge]([x, *((saved or {})[name] for name in self.tensors)])

    def extra_repr(self) -> str:
        return f"{self.merge}, {', '.join(self.tensors)}"


def group(children: Mapping[str, nn.Module]) -> nn.Module:
    """Modules one after the other: a plain nn.Sequential where none hands anything on."""
    if any(carries(module) for module in children.values()):
        return Group(children)
    plain = nn.Sequential()
    for name, module in children.items():
        plain.add_module(name, module)
    return plain


def carries(module: nn.Module) -> bool:
    """Whether a module keeps tensors or uses kept ones, itself or within."""
    return any(isinstance(part, Save | Merge) for part in module.modules())


Arms = Mapping[str, Mapping[str, nn.Module]]
"""What a container holds, by the part of it: "" or `layers`, `shortcut`, `0`, `1`."""


def _sequential(row: Row, arms: Arms) -> nn.Module:
    return group(arms.get("", {}))


def _residual(row: Row, arms: Arms) -> nn.Module:
    assert isinstance(row.layer, merge.Residual)
    layers, shortcut = group(arms.get("layers", {})), row.layer.shortcut
    if shortcut is False:
        return group({"layers": layers})
    return Residual(layers, None if shortcut is True else group(arms.get("shortcut", {})))


def _branches(row: Row, arms: Arms) -> nn.Module:
    assert isinstance(row.layer, merge.Branches)
    branches = [group(arms.get(str(number), {})) for number in range(len(row.layer.layers))]
    return Branches(branches, row.layer.merge, row.layer.split is not None)


CONTAINERS: dict[str, Callable[[Row, Arms], nn.Module]] = {
    "sequential": _sequential,
    "repeat": _sequential,
    "residual": _residual,
    "branches": _branches,
}


def container(row: Row, arms: Arms) -> nn.Module:
    """The module of a container; a block's is that of a group."""
    return CONTAINERS.get(row.kind, _sequential)(row, arms)
