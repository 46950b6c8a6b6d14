"""How much memory a network takes, before it is built.

What is counted is what torch allocates for tensors when the built module runs: weights, gradients,
the optimizer's state, the batch, what layers make and what autograd keeps. What is not counted: the
workspaces of convolution libraries, the rounding and the cache of a GPU's allocator, and CUDA
itself, which takes some hundred MB.

Every amount is a number of bytes that is there once and one for each sample of the batch. The peak
is the largest sum at any moment of the step, so the largest batch that fits follows exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from shapecalc.analysis.flow import AUTOCAST, Flow, Step, Value, widths
from shapecalc.analysis.rewrites import Names, plan
from shapecalc.analysis.rewrites.draft import CORE, GPU, Target, weights
from shapecalc.diagnostics import Fault, nearest
from shapecalc.language.recipe import Named, named
from shapecalc.language.spec import Spec
from shapecalc.tracer import Row, Trace
from shapecalc.tracer import trace as traced

WIDTHS = {"fp32": 4, "bf16": 2, "fp16": 2}
"""Bytes of a number in each precision. The lower ones are those of autocast: weights stay in fp32,
and each layer computes in the type that autocast has for it."""


class Amount(NamedTuple):
    """Bytes that grow with the batch."""

    once: int = 0
    each: int = 0
    """For each sample."""

    def of(self, batch: int) -> int:
        return self.once + self.each * batch


@dataclass(frozen=True)
class Memory:
    """The bytes of a network. `at` gives those of a batch."""

    trace: Trace
    precision: str
    optimizer: str
    gpu: bool
    weights: int
    """Parameters and buffers."""
    gradients: int
    state: int
    """The optimizer's."""
    input: Amount
    """The batch itself."""
    saved: Amount
    """What autograd keeps from the forward to the backward pass, each tensor once; without the
    batch and the parameters, but with their copies in a lower precision."""
    saved_by: tuple[tuple[Row, Amount], ...]
    """The layers by what is kept of them, in order of execution; a tensor that several keep counts
    for the first."""
    inference: tuple[Amount, ...]
    """The moments of a forward pass without gradients that can be its peak."""
    training: tuple[Amount, ...]
    """The moments of a training step that can be its peak."""
    rewrites: tuple[str, ...] = ()
    """Those that are counted with, where they found something: see `analysis.rewrites`."""

    def peak(self, batch: int, *, training: bool = True) -> int:
        """The most bytes that are there at once."""
        return max(moment.of(batch) for moment in (self.training if training else self.inference))

    def largest_batch(self, room: int, *, training: bool = True) -> int:
        """The most samples at once for which the peak is at most `room` bytes; 0 where there are
        none."""
        moments = self.training if training else self.inference
        return max(0, min((room - m.once) // m.each for m in moments if m.each))


def memory(
    network: Spec | Trace,
    *,
    optimizer: Named = "adamw",
    precision: str = "fp32",
    accumulate: int = 1,
    gpu: bool = False,
    batch: int = 1,
    rewrites: Names = (),
) -> Memory:
    """The memory of a network as the builder makes it. Raises SpecError where the spec has a
    fault, and Fault for an optimizer or precision that is not known.

    `gpu` counts as torch computes on one, where a few layers keep less: a dropout keeps a byte for
    each number instead of four. `accumulate` above 1 means that gradients stay between steps.
    `rewrites` are those that the network is run with, as they pay for a `batch`, on a CPU with the
    kernels in C.
    """
    if precision not in WIDTHS:
        raise Fault("E501", f"there is no precision {precision!r}", help="write fp32, bf16 or fp16")
    width = WIDTHS[precision]
    trace = network if isinstance(network, Trace) else traced(network)
    target = Target(GPU if gpu else CORE, gpu=gpu, kernels=not gpu)
    trained, tried = (
        plan(trace, training=mode, batch=batch, names=rewrites, target=target)
        for mode in (True, False)
    )
    step = _Pass(trained.flow, width, gpu)
    own, gradients = 4 * (trace.params + trace.buffers), 4 * trace.params
    state = 4 * trace.params * state_numbers(optimizer)
    images = Amount(0, 4 * prod(trace.input_shape))
    there = gradients if accumulate > 1 else 0
    step.meter.take(Amount(own + state + there, images.each))
    step.forward(training=True)
    saved = step.saved_by()
    step.backward(temporary=accumulate > 1)
    spare = 0 if _plain(optimizer) in _FUSED else 4 * _largest(trace, whole=gpu)
    step.meter.note(Amount(own + gradients + state + spare, images.each))
    alone = _Pass(tried.flow, width, gpu)
    alone.meter.take(Amount(own, images.each))
    alone.forward(training=False)
    return Memory(
        trace,
        precision,
        named(optimizer)[0],
        gpu,
        weights=own,
        gradients=gradients,
        state=state,
        input=images,
        saved=Amount(sum(a.once for _, a in saved), sum(a.each for _, a in saved)),
        saved_by=saved,
        inference=alone.meter.peaks(),
        training=step.meter.peaks(),
        rewrites=tuple(dict.fromkeys((*trained.places, *tried.places))),
    )


def state_numbers(optimizer: Named) -> int:
    """Numbers that an optimizer of torch keeps for each parameter, its step counts left out.

    Raises Fault for one that is not known.
    """
    name, given = named(optimizer)
    plain = _plain(optimizer)
    if plain not in _STATE:
        close = nearest(plain, _STATE)
        raise Fault(
            "E501",
            f"what the optimizer {name!r} keeps is not known",
            argument="optimizer",
            help=f"did you mean {close}?" if close else f"known: {', '.join(_STATE)}",
        )
    count, options = _STATE[plain]
    return count + sum(1 for option in options if given.get(option))


_STATE: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "adadelta": (2, ()),
    "adagrad": (1, ()),
    "adam": (2, ("amsgrad",)),
    "adamax": (2, ()),
    "adamw": (2, ("amsgrad",)),
    "asgd": (1, ()),
    "muon": (1, ()),
    "nadam": (2, ()),
    "radam": (2, ()),
    "rmsprop": (1, ("momentum", "centered")),
    "rprop": (2, ()),
    "sgd": (0, ("momentum",)),
}
"""Of each optimizer the numbers it keeps for a parameter, and the arguments that add one."""

_FUSED = ("adagrad", "adam", "adamw", "sgd")
"""Those that change the weights in one go. The others need some more for a moment: as much as all
weights on a GPU, where they take all at once, and as the largest one on a CPU."""


def _plain(optimizer: Named) -> str:
    return named(optimizer)[0].lower().replace("_", "")


def _largest(trace: Trace, *, whole: bool) -> int:
    return trace.params if whole else max((row.params for row in trace.leaves), default=0)


UNITS = {
    "B": 1,
    **{f"{prefix}B": 1000**n for n, prefix in enumerate("kMGT", 1)},
    **{f"{prefix}iB": 1024**n for n, prefix in enumerate("KMGT", 1)},
}


def parse_bytes(text: str) -> int:
    """`8GiB` or `500MB` as bytes; KB is kB, and a bare G is GiB. Raises Fault."""
    units = {name.lower(): size for name, size in UNITS.items()}
    units |= {name[0].lower(): size for name, size in UNITS.items() if len(name) == 3}
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([A-Za-z]{1,3})", text.strip(), re.ASCII)
    if not found or found[2].lower() not in units:
        raise Fault(
            "E109",
            f"{text!r} is not an amount of memory",
            help="write a number with its unit, such as 8GiB or 500MB",
        )
    return int(float(found[1]) * units[found[2].lower()])


def in_units(size: int) -> str:
    """Bytes as people read them: `1.25 GiB`."""
    for unit, one in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= one:
            return f"{size / one:,.2f} {unit}"
    return f"{size} B"


class _Meter:
    """What is allocated now, and the moments so far."""

    def __init__(self) -> None:
        self.once = self.each = 0
        self.moments: dict[int, int] = {}
        """By the bytes of each sample the most bytes that were there once."""

    def take(self, amount: Amount) -> None:
        self.once += amount.once
        self.each += amount.each
        self.note(Amount(self.once, self.each))

    def give(self, amount: Amount) -> None:
        self.once -= amount.once
        self.each -= amount.each

    def note(self, moment: Amount) -> None:
        self.moments[moment.each] = max(moment.once, self.moments.get(moment.each, 0))

    def peaks(self) -> tuple[Amount, ...]:
        """The moments that no other one exceeds in both numbers."""
        kept: list[Amount] = []
        for each, once in sorted(self.moments.items(), reverse=True):
            if not kept or once > kept[-1].once:
                kept.append(Amount(once, each))
        return tuple(kept)


class _Storage:
    """A stretch of memory, there as long as somebody uses it."""

    __slots__ = ("amount", "uses")

    def __init__(self, amount: Amount) -> None:
        self.amount, self.uses = amount, 1


class _Pass:
    """A forward pass and, after it, its backward pass."""

    def __init__(self, run: Flow, width: int, gpu: bool) -> None:
        self.run, self.width, self.gpu = run, width, gpu
        self.meter = _Meter()
        self.widths = widths(run, width)
        self.storages: dict[Value, _Storage] = {run.input: _Storage(Amount())}
        """Of the tensors that own their memory; the batch is counted apart."""
        self.kept: list[list[_Storage]] = []
        """For each step what autograd keeps."""
        self.copies: list[_Storage] = []
        """Weights in the lower precision, which autocast keeps for the whole forward pass."""

    def forward(self, *, training: bool) -> None:
        releases: dict[int, list[Value]] = {}
        for value, at in self.run.held:
            releases.setdefault(at, []).append(value)
        left: dict[Value, int] = {self.run.output.memory: 1}
        left[self.run.input] = 1
        for step in self.run.steps:
            for value in step.inputs:
                left[value.memory] = left.get(value.memory, 0) + 1
        for value, _ in self.run.held:
            left[value.memory] = left.get(value.memory, 0) + 1
        for number, step in enumerate(self.run.steps):
            self.kept.append(self.step(step, training, left))
            for value in (*step.inputs, *releases.get(number, ())):
                self.release(value, left)
        for storage in self.copies:
            self.drop(storage)

    def step(self, step: Step, training: bool, left: Mapping[Value, int]) -> list[_Storage]:
        """Run a step; what autograd keeps of it."""
        saved = step.saved
        own = step.does in ("layer", "map", "stem")
        how = AUTOCAST.get(step.row.kind) if own and self.width < 4 else None
        width = self.widths[step.outputs[0]]
        inputs, copies = [], []
        for value in step.inputs:
            storage = self.storages[value.memory]
            if how in ("lower", "full") and self.widths[value] != width:
                storage = self.new(Amount(0, width * value.numbers))
                copies.append(storage)
            inputs.append(storage)
        extras = []
        for extra in saved.extras:
            total = extra.bytes(width, self.gpu)
            extras.append(self.new(Amount(0, total) if extra.each else Amount(total, 0)))
        if how == "lower" and step.params and not step.made:
            copy = self.new(Amount(self.width * weights(step.row), 0))
            self.copies.append(copy)
            if step.inputs[0].gradient or step.row.kind != "linear":  # which does without them
                inputs.append(copy)
        for output in step.outputs:
            if output.memory is output:
                self.storages[output] = self.new(Amount(0, width * output.numbers))
        kept = []
        if training and step.outputs[0].gradient:
            kept = extras + (inputs if saved.input else inputs[len(step.inputs) :])
            if step.does == "multiply":  # each factor is kept for the gradient of the other
                ours, theirs = step.inputs
                kept = [inputs[0]] * theirs.gradient + [inputs[1]] * ours.gradient
            if saved.output:
                kept.append(self.storages[step.outputs[0].memory])
            for storage in kept:
                storage.uses += 1
        for storage in (*copies, *extras):
            self.drop(storage)
        return kept

    def saved_by(self) -> tuple[tuple[Row, Amount], ...]:
        """The rows with what is kept of each, every stretch of memory once."""
        seen = {self.storages[self.run.input]}
        found: list[tuple[Row, Amount]] = []
        for step, kept in zip(self.run.steps, self.kept, strict=True):
            new = [storage for storage in dict.fromkeys(kept) if storage not in seen]
            seen.update(new)
            once, each = (sum(s.amount[n] for s in new) for n in (0, 1))
            if once or each:
                found.append((step.row, Amount(once, each)))
        return tuple(found)

    def backward(self, *, temporary: bool) -> None:
        """The backward pass; with `temporary` each weight's gradient is added to one that is
        there."""
        output = self.run.output
        loss = self.new(Amount(0, 8 * output.numbers))  # logarithms that it keeps, their gradient
        start = self.new(Amount(0, self.widths[output] * output.numbers))
        self.drop(loss)
        gradients: dict[Value, _Storage] = {output: start}
        for step, kept in zip(reversed(self.run.steps), reversed(self.kept), strict=True):
            given = [gradients.pop(v) for v in step.outputs if v in gradients]
            if given and any(v.gradient for v in step.outputs):
                weights = Amount(4 * step.params, 0)
                self.meter.take(weights)
                for value in step.inputs:
                    if value.gradient:
                        self.pass_back(step, value, given, gradients)
                if temporary:
                    self.meter.give(weights)
            for storage in (*given, *kept):
                self.drop(storage)

    def pass_back(
        self, step: Step, value: Value, given: list[_Storage], gradients: dict[Value, _Storage]
    ) -> None:
        """The gradient of an input of a step, added to what it has from others."""
        amount = Amount(0, self.widths[value] * value.numbers)
        if _hands_on(step):
            new = given[0]
            new.uses += 1
        elif step.does == "multiply" and value.shape != step.outputs[0].shape:
            full = self.new(Amount(0, self.widths[value] * step.outputs[0].numbers))
            new = self.new(amount)  # the sum of the former
            self.drop(full)
        else:
            new = self.new(amount)
        old = gradients.get(value)
        if old is None:
            gradients[value] = new
        elif old.uses == 1:  # the new one is added to it in place
            self.drop(new)
        else:
            gradients[value] = self.new(amount)
            self.drop(old)
            self.drop(new)

    def new(self, amount: Amount) -> _Storage:
        self.meter.take(amount)
        return _Storage(amount)

    def drop(self, storage: _Storage) -> None:
        storage.uses -= 1
        if not storage.uses:
            self.meter.give(storage.amount)

    def release(self, value: Value, left: dict[Value, int]) -> None:
        owner = value.memory
        left[owner] -= 1
        if not left[owner]:
            self.drop(self.storages[owner])


def _hands_on(step: Step) -> bool:
    """Whether the gradient of its output serves as that of its inputs, or a part of it does."""
    if step.does != "layer":
        return step.does in ("add", "concat", "bias")
    in_place: Any = getattr(step.row.layer, "inplace", False)
    return (step.saved.view and not in_place) or step.row.kind == "permute"


def most(rows: Iterable[tuple[Row, Amount]], batch: int, count: int = 3) -> list[tuple[Row, int]]:
    """The rows that keep most of a batch, with the bytes."""
    totals: dict[str, tuple[Row, int]] = {}
    for row, amount in rows:
        before = totals[row.path][1] if row.path in totals else 0
        totals[row.path] = row, before + amount.of(batch)
    return sorted(totals.values(), key=lambda pair: -pair[1])[:count]
