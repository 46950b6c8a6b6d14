"""A Trace to a plain module, whose submodules are named by the rows' paths."""

from __future__ import annotations

import os

import torch
from torch import nn

from shapecalc.builder.layers import BUILDERS
from shapecalc.builder.modules import Network
from shapecalc.diagnostics import Diagnostic, Fault, SpecError
from shapecalc.language.faults import locate
from shapecalc.language.spec import Spec
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
    top = [(path, _module(row, rows)) for path, row in rows.items() if path not in held]
    module = Network(top)
    _check_counts(traced, module)
    return module


def _module(row: Row, rows: dict[str, Row]) -> nn.Module:
    if not row.is_container:
        try:
            return BUILDERS[row.kind](row)
        except (RuntimeError, ValueError, TypeError, OverflowError) as error:
            fault = Fault("E301", f"torch refuses {row.kind} with {row.arguments}: {error}")
            raise SpecError([locate(fault, row.source, row.origin, path=row.path)]) from error
    group = nn.Sequential()
    for path in row.children:
        group.add_module(path.rsplit(".", 1)[1], _module(rows[path], rows))
    return group


def _check_memory(traced: Trace) -> None:
    """Refuse what cannot be allocated, before the system runs out."""
    needed = 4 * (traced.params + traced.buffers)
    available = available_memory()
    if available and needed > available:
        largest = max(traced.leaves, key=lambda row: row.params)
        fault = Fault(
            "E302",
            f"the parameters need {gigabytes(needed)}, and {gigabytes(available)} are free",
            help=f"{largest.path} alone has {largest.params:,} of {traced.params:,} parameters",
        )
        raise SpecError([locate(fault, largest.source, largest.origin, path=largest.path)])


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
    """Bytes that can be allocated without swapping; 0 where the system does not tell."""
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


def gigabytes(number: int) -> str:
    return f"{number / 2**30:,.1f} GiB"
