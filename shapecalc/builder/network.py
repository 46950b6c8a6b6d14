"""A Trace to a plain module, whose submodules are named by the rows' paths."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor, nn

from shapecalc.analysis.memory import in_units
from shapecalc.builder.containers import Saved, container, group, run
from shapecalc.builder.control_group import memory_left
from shapecalc.builder.layers import BUILDERS
from shapecalc.diagnostics import Diagnostic, Fault, SpecError
from shapecalc.language.faults import locate
from shapecalc.language.spec import Spec
from shapecalc.layers.base import show
from shapecalc.tracer import Row, Trace, trace


def build(network: Spec | Trace) -> nn.Module:
    """The module of a spec, with torch's own initial weights, on torch's default device.

    It takes [N, *input] and gives [N, *output]. Raises SpecError where the spec has a fault, where
    the parameters do not fit into memory, and where what was built differs from the Trace.
    """
    traced = network if isinstance(network, Trace) else trace(network)
    if torch.get_default_device().type == "cpu":
        _check_memory(traced)
    rows = {row.path: row for row in traced.rows}
    held = {child for row in traced.rows for child in row.children}
    module = Network({path: _module(rows[path], rows) for path in rows if path not in held})
    _check_counts(traced, module)
    return module


class Network(nn.Module):
    """The layers of a spec, run one after the other.

    Layers without a name are children of `layers` under their number; the others are children of
    the network under their name. `steps` are their paths, in order.
    """

    def __init__(self, children: Mapping[str, nn.Module]) -> None:
        super().__init__()
        unnamed = {path.split(".")[1]: m for path, m in children.items() if "." in path}
        self.steps: tuple[str, ...] = tuple(children)
        if len(unnamed) == len(children):
            self.layers: nn.Module = group(unnamed)
            self.steps = ("layers",)
        elif unnamed:
            self.layers = nn.ModuleDict(unnamed)
        for path, module in children.items():
            if "." not in path:
                self.add_module(path, module)

    def forward(self, x: Tensor) -> Tensor:
        saved: Saved = {}
        for path in self.steps:
            x = run(self.get_submodule(path), x, saved)
        return x


def _module(row: Row, rows: dict[str, Row]) -> nn.Module:
    if row.is_container:
        arms: dict[str, dict[str, nn.Module]] = {}
        for path in row.children:
            arm, _, name = path[len(row.path) + 1 :].rpartition(".")
            arms.setdefault(arm, {})[name] = _module(rows[path], rows)
        return container(row, arms)
    try:
        return BUILDERS[row.kind](row)
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        fault = Fault("E301", f"torch refuses {row.kind} with {row.arguments}: {error}")
        raise SpecError([_located(fault, row)]) from error


def _located(fault: Fault, row: Row) -> Diagnostic:
    return locate(fault, row.source, row.at.origin, path=row.path, way=row.at.way)


def _check_memory(traced: Trace) -> None:
    """Refuse what cannot be allocated, before the system runs out."""
    needed = 4 * (traced.params + traced.buffers)
    available = available_memory()
    if available and needed > available:
        largest = max(traced.leaves, key=lambda row: row.params)
        fault = Fault(
            "E302",
            f"the parameters need {in_units(needed)}, and {in_units(available)} are free",
            help=f"{largest.path} alone has {largest.params:,} of {traced.params:,} parameters",
        )
        raise SpecError([_located(fault, largest)])


def check_sample(traced: Trace, *, layers: bool) -> None:
    """Refuse to train where not even one sample fits into memory: the picture itself and, where
    `layers` run on the CPU, the largest output. Raises SpecError."""
    shown = traced.input_shape
    largest, size = None, 4 * prod(shown)
    for row in traced.leaves if layers else ():
        if row.activation_bytes > size:
            largest, size, shown = row, row.activation_bytes, row.output_shape
    available = available_memory()
    if not available or size <= available:
        return
    what = f"{largest.kind} gives" if largest else "the input is"
    fault = Fault(
        "E302",
        f"{what} {show(shown)}: one sample needs {in_units(size)}, "
        f"and {in_units(available)} are free",
        help="give it a smaller input, or fewer channels",
    )
    if largest is None:
        raise SpecError([locate(fault, traced.spec.source, ("input",))])
    raise SpecError([_located(fault, largest)])


def _check_counts(traced: Trace, module: nn.Module) -> None:
    """The calculator's word is what everything else relies on: a difference stops the build."""
    wrong = []
    for row in traced.rows:
        built = module.get_submodule(row.path)
        for what, ours, real in (
            ("params", row.params, sum(p.numel() for p in built.parameters())),
            ("buffers", row.buffers, sum(b.numel() for b in built.buffers())),
        ):
            if ours != real:
                message = f"{row.kind}: {ours:,} {what} are counted, but the module has {real:,}"
                wrong.append(Diagnostic("E301", message, row.place, row.path))
    if wrong:
        raise SpecError(wrong)


def available_memory() -> int:
    """Bytes that can be allocated without swapping, within the limits of a container; 0 where the
    system does not tell."""
    free, inside = _free_memory(), memory_left()
    return free if inside is None else min(free, inside)


def _free_memory() -> int:
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0
