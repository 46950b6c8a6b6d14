"""The memory and time of a spec, as text and JSON."""

from __future__ import annotations

import json
import textwrap

from shapecalc.analysis.budget import Budget
from shapecalc.analysis.memory import in_units, most


def as_text(budget: Budget, width: int = 100) -> str:
    """The amounts in a column, then what keeps most, what fits, and the least time."""
    needs, batch = budget.memory, budget.batch
    name = "".join(c if c.isprintable() else " " for c in needs.trace.name)
    lines = (
        ("weights", needs.weights),
        ("gradients", needs.gradients),
        (f"state of {needs.optimizer}", needs.state),
        ("the batch", needs.input.of(batch)),
        ("kept for backward", needs.saved.of(batch)),
        ("peak of inference", needs.peak(batch, training=False)),
        ("peak of a training step", needs.peak(batch)),
    )
    amounts = [in_units(size).partition(" ") for _, size in lines]
    left = max(len(label) for label, _ in lines)
    right = max(len(number) for number, _, _ in amounts)
    text = [f"{name}: batch {batch}, {needs.precision}"]
    text += [
        f"  {label:<{left}}  {number:>{right}} {unit}"
        for (label, _), (number, _, unit) in zip(lines, amounts, strict=True)
    ]
    keepers = most(needs.saved_by, batch)
    if keepers:
        listed = ", ".join(f"{row.path} {row.kind} {in_units(size)}" for row, size in keepers)
        text.append(f"most is kept by {listed}")
    if made := budget.rewritten.rewrites:
        kept, peak = budget.rewritten.saved.of(batch), budget.rewritten.peak(batch)
        text.append(
            f"with the rewrites of train ({', '.join(made)}): {in_units(kept)} kept for backward, "
            f"peak of a training step {in_units(peak)}"
        )
    if budget.room is not None:
        text.append(f"{_fits(budget)} {in_units(budget.room)}")
    if budget.bound is not None and budget.device is not None:
        text.append(_time(budget))
    text.append("not counted: workspaces of libraries, and what a GPU's driver and allocator add")
    room = max(width, 30)
    return "\n".join(textwrap.fill(line, room, subsequent_indent="    ") for line in text)


def as_json(budget: Budget) -> str:
    """All numbers, in bytes and seconds."""
    needs, batch = budget.memory, budget.batch
    bound, device = budget.bound, budget.device
    data = {
        "name": needs.trace.name,
        "batch_size": batch,
        "precision": needs.precision,
        "optimizer": needs.optimizer,
        "weights": needs.weights,
        "gradients": needs.gradients,
        "optimizer_state": needs.state,
        "input": needs.input.of(batch),
        "saved": needs.saved.of(batch),
        "saved_per_sample": needs.saved.each,
        "peak_inference": needs.peak(batch, training=False),
        "peak_training": needs.peak(batch),
        "most_saved": [
            {"path": row.path, "kind": row.kind, "line": row.line, "bytes": size}
            for row, size in most(needs.saved_by, batch)
        ],
        "rewritten": {
            "rewrites": budget.rewritten.rewrites,
            "saved": budget.rewritten.saved.of(batch),
            "peak_inference": budget.rewritten.peak(batch, training=False),
            "peak_training": budget.rewritten.peak(batch),
        },
        "room": budget.room,
        "largest_batch": budget.largest,
        "device": device and device.name,
        "least_seconds": bound and bound.seconds,
        "most_samples_per_second": bound and batch / bound.seconds,
        "flops": bound and bound.flops,
        "bytes_moved": bound and bound.moved,
    }
    return json.dumps(data, indent=2)


def _fits(budget: Budget) -> str:
    if budget.largest:
        return f"largest batch: {budget.largest:,} in"
    needed = in_units(budget.memory.peak(1))
    return f"largest batch: none, as a single sample takes {needed}, not"


def _time(budget: Budget) -> str:
    bound, device = budget.bound, budget.device
    assert bound
    assert device
    rate, share = budget.batch / bound.seconds, bound.computing / bound.seconds
    return (
        f"a step on {device.name}: at least {_seconds(bound.seconds)}, at most {rate:,.0f} samples "
        f"a second ({bound.flops / 1e9:,.1f} GFLOP, {in_units(bound.moved)} moved; "
        f"{share:.0%} of it bound by operations). A bound by peak rates, not a forecast."
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
