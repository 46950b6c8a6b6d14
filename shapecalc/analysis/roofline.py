"""How long a training step takes at least: by its operations, and by the bytes it moves.

For each layer, forward and backward apart, the larger of the two times counts, at the device's peak
rates (Williams, Waterman and Patterson 2009, "Roofline", CACM 52(4)). That is a bound, not a
forecast: no kernel reaches the peaks, starting kernels takes time as well, and loading data is left
out. Every layer is taken to read its input from memory and to write its output there, as eager
torch does; what stays in a cache between two layers, or is fused by a compiler, can beat it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shapecalc.analysis.flow import Step, flow, widths
from shapecalc.analysis.memory import WIDTHS, state_numbers
from shapecalc.diagnostics import Fault, nearest
from shapecalc.language.recipe import Named
from shapecalc.tracer import Trace


@dataclass(frozen=True)
class Device:
    """The peak rates of a device."""

    name: str
    memory: int
    """Bytes."""
    bandwidth: float
    """Bytes a second."""
    flops: Mapping[str, float]
    """Floating-point operations a second, by precision."""
    gpu: bool = True

    @property
    def precision(self) -> str:
        """What `auto` stands for: bf16 where the device has it, else fp16, else fp32."""
        return next(name for name in ("bf16", "fp16", "fp32") if name in self.flops)


def _gpu(name: str, gigabytes: int, bandwidth: float, fp32: float, **lower: float) -> Device:
    flops = {"fp32": fp32 * 1e12, **{key: rate * 1e12 for key, rate in lower.items()}}
    return Device(name, gigabytes * 10**9, bandwidth * 1e9, flops)


_ALL = (
    _gpu("h200", 141, 4800, 494.5, bf16=989, fp16=989),
    _gpu("h100-sxm", 80, 3350, 494.5, bf16=989, fp16=989),
    _gpu("h100-pcie", 80, 2000, 378, bf16=756, fp16=756),
    _gpu("a100-sxm-80gb", 80, 2039, 156, bf16=312, fp16=312),
    _gpu("a100-40gb", 40, 1555, 156, bf16=312, fp16=312),
    _gpu("l40s", 48, 864, 183, bf16=362, fp16=362),
    _gpu("l4", 24, 300, 60, bf16=121, fp16=121),
    _gpu("rtx-4090", 24, 1008, 82.6, bf16=165.2, fp16=165.2),
    _gpu("rtx-3090", 24, 936, 35.6, bf16=71, fp16=71),
    _gpu("v100-sxm-32gb", 32, 900, 15.7, fp16=125),
    _gpu("t4", 16, 320, 8.1, fp16=65),
)
DEVICES: dict[str, Device] = {device.name: device for device in _ALL}
"""Devices by name: GB, GB/s and dense TFLOP/s as NVIDIA's data sheets and architecture papers give
them, those with sparsity halved. fp32 is that of TF32 on devices that have it, in which torch
computes convolutions unless it is told otherwise."""


def find_device(name: str) -> Device:
    """A device by its name. Raises Fault for an unknown one."""
    plain = name.lower().replace(" ", "-").replace("_", "-")
    found = DEVICES.get(plain) or next((d for n, d in DEVICES.items() if n.startswith(plain)), None)
    if found is None or not plain:
        close = nearest(plain, DEVICES)
        known = f"known: {', '.join(DEVICES)}, and here for this machine"
        raise Fault(
            "E501",
            f"there are no figures for a device called {name!r}",
            help=f"did you mean {close}? {known}" if close else known,
        )
    return found


@dataclass(frozen=True)
class Bound:
    """The least time of a training step."""

    seconds: float
    computing: float
    """Seconds of it in which operations are the limit; in the others it is the memory's rate."""
    flops: int
    moved: int
    """Bytes."""


def roofline(
    trace: Trace, device: Device, *, batch: int, precision: str, optimizer: Named = "adamw"
) -> Bound:
    """The bound for a step with a batch. Raises Fault for a precision the device does not have."""
    if precision not in device.flops:
        raise Fault(
            "E501",
            f"{device.name} has no {precision}",
            argument="precision",
            help=f"it has {', '.join(device.flops)}",
        )
    rate, lowered = device.flops[precision], WIDTHS[precision]
    run = flow(trace, training=True)
    width = widths(run, lowered)
    seconds = computing = 0.0
    flops = moved = 0
    work: list[tuple[int, int]] = []
    for step in run.steps:
        outputs = sum(width[value] * value.numbers for value in step.outputs)
        inputs = sum(width[value] * value.numbers for value in step.inputs)
        work += _work(step, inputs, outputs, width[step.outputs[0]], batch, device.gpu)
    work.append((0, 4 * trace.params * (3 + 2 * state_numbers(optimizer))))
    for operations, size in work:
        compute, move = operations / rate, size / device.bandwidth
        seconds += max(compute, move)
        computing += compute if compute > move else 0
        flops += operations
        moved += size
    return Bound(seconds, computing, flops, moved)


def _work(
    step: Step, inputs: int, outputs: int, width: int, batch: int, gpu: bool
) -> list[tuple[int, int]]:
    """Operations and bytes of a step forward, and backward where it has a gradient."""
    if step.saved.view and not getattr(step.row.layer, "inplace", False):
        return []
    operations = 2 * step.row.macs * batch if step.does == "layer" else 0
    extras = sum(e.bytes(width, gpu) * (batch if e.each else 1) for e in step.saved.extras)
    weights = 4 * step.params
    forward = (operations, batch * (inputs + outputs) + extras + weights)
    if not step.outputs[0].gradient or step.does in ("add", "concat"):  # which hand it on as it is
        return [forward]
    back = sum(value.gradient for value in step.inputs)
    kept = batch * (inputs * (step.saved.input or step.does == "multiply"))
    kept += batch * outputs * step.saved.output + extras
    size = batch * (outputs + inputs * (back > 0)) + kept + 2 * weights
    return [forward, (operations * (bool(step.params) + bool(back)), size)]
