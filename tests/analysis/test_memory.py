"""Memory that is counted beforehand, against what torch keeps and allocates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cases import CASES, Case
from tensors import inference_peak, kept, training_peak
from zoo import specs

import shapecalc
from shapecalc import Spec, Trace, load, loads, trace
from shapecalc.analysis.budget import budget
from shapecalc.analysis.memory import Amount, memory, most, parse_bytes, state_numbers
from shapecalc.analysis.roofline import DEVICES, Device, find_device, roofline
from shapecalc.builder.native import library
from shapecalc.diagnostics import Fault
from shapecalc.layers import FAMILIES, KINDS, layer_class
from shapecalc.layers.base import Inplace

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
ROOT = Path(shapecalc.__file__).parent.parent
ZOO = {"densenet121": 64, "mobilenet_v3_small": 64, "convnext_tiny": 64, "alexnet": 224}
"""Networks and the pixels they are tried at."""
SMALL = trace(
    loads(
        """
input: [3, 8, 8]
layers:
  - conv: {out_channels: 4, kernel_size: 3, padding: 1}
  - save: a
  - batch_norm
  - relu
  - max_pool: 2
  - upsample: 2
  - multiply: a
  - flatten
  - dropout
  - linear: 5
"""
    )
)


def between(kind: str, arguments: dict[str, Any] | None, shape: tuple[int, ...]) -> Trace:
    """A layer behind a linear one, and before one that keeps its output."""
    layers = [{"linear": shape[-1]}, {kind: arguments or None}, "tanh"]
    return trace(Spec(input=shape, layers=layers))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_kept_of_each_layer_is_what_torch_keeps(case: Case) -> None:
    traced = between(case.kind, case.arguments, case.shape)
    assert memory(traced).saved.of(3) == kept(traced, 3)


IN_PLACE = [kind for kind in KINDS if issubclass(layer_class(kind), Inplace)]
REQUIRED = {"threshold": {"threshold": 0.1, "value": 0.0}}


@pytest.mark.parametrize("kind", [*IN_PLACE, *FAMILIES["dropout"][:3]])
def test_layers_in_place(kind: str) -> None:
    traced = between(kind, {**REQUIRED.get(kind, {}), "inplace": True}, (4, 6, 6))
    assert memory(traced).saved.of(2) == kept(traced, 2)


@pytest.mark.parametrize("kind", FAMILIES["dropout"])
@pytest.mark.parametrize("p", [0.0, 1.0])
def test_dropouts_at_the_ends(kind: str, p: float) -> None:
    traced = between(kind, {"p": p}, (4, 6, 6))
    assert memory(traced).saved.of(2) == kept(traced, 2)


@pytest.mark.parametrize("name", ZOO)
def test_what_is_kept_of_networks_of_the_zoo(name: str) -> None:
    traced = trace(load(specs()[name]).with_input((3, ZOO[name], ZOO[name])))
    assert memory(traced).saved.of(2) == kept(traced, 2)


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "squeezenet1_1"])
def test_the_peaks_of_networks_of_the_zoo(name: str) -> None:
    traced = trace(load(specs()[name]).with_input((3, 96, 96)))
    counted = memory(traced)
    assert counted.saved.of(2) == kept(traced, 2, "meta")
    assert counted.peak(2, training=False) == pytest.approx(inference_peak(traced, 2), rel=1e-3)
    assert counted.peak(2) == pytest.approx(training_peak(traced, 2), rel=1e-3)


REWRITTEN = {"vgg11": 96, "resnet18": 64, "googlenet": 96, "squeezenet1_0": 96}


@pytest.mark.skipif(library() is None, reason="no C compiler")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", REWRITTEN)
def test_what_is_kept_of_rewritten_networks(name: str, precision: str) -> None:
    size = REWRITTEN[name]
    traced = trace(load(specs()[name]).with_input((3, size, size)))
    counted = memory(traced, precision=precision, batch=2, rewrites="auto").saved.of(2)
    dtype = torch.bfloat16 if precision == "bf16" else None
    assert counted == pytest.approx(kept(traced, 2, dtype=dtype, rewrites="auto"), rel=0.01)
    assert counted < memory(traced, precision=precision).saved.of(2)


def test_apparel_keeps_a_quarter_once_it_is_rewritten() -> None:
    shown = budget(load(ROOT / "specs/apparel.yaml"))
    assert shown.rewritten.rewrites == ("compose", "normalize", "small_indices")
    assert shown.rewritten.saved.of(16) < 0.26 * shown.memory.saved.of(16)
    assert shown.rewritten.peak(16) < 0.5 * shown.memory.peak(16)


def test_bf16_halves_what_autocast_lowers() -> None:
    layers = [{"conv": {"out_channels": 8, "kernel_size": 3}}, "batch_norm", "relu"]
    layers += [{"max_pool": 2}, "flatten", {"linear": 4}]
    traced = trace(Spec(input=(3, 12, 12), layers=layers))
    counted = memory(traced, precision="bf16")
    assert counted.saved.of(2) == kept(traced, 2, "cpu", torch.bfloat16)
    assert counted.peak(8) == pytest.approx(
        training_peak(traced, 8, "cpu", torch.bfloat16), rel=0.05
    )


def test_a_gpu_keeps_less_of_a_dropout() -> None:
    traced = between("dropout", None, (100,))
    less = memory(traced).saved.each - memory(traced, gpu=True).saved.each
    assert less == 3 * 100


def test_the_peak_of_inference_by_hand() -> None:
    counted = memory(SMALL)
    # the batch, the tensor that is saved, and of two layers input and output
    image, plane, pooled = 4 * 3 * 64, 4 * 4 * 64, 4 * 4 * 16
    assert counted.weights == 4 * (SMALL.params + SMALL.buffers)
    assert counted.peak(7, training=False) == counted.weights + 7 * (image + 3 * plane)
    assert counted.input == Amount(0, image)
    assert pooled < plane


def test_every_amount_of_a_step() -> None:
    counted = memory(SMALL, optimizer={"sgd": {"momentum": 0.9}})
    assert counted.gradients == counted.state == 4 * SMALL.params
    rows = {row.path: amount for row, amount in counted.saved_by}
    assert list(rows) == ["layers.2", "layers.3", "layers.4", "layers.6", "layers.8", "layers.9"]
    assert rows["layers.2"] == Amount(once=2 * 4 * 4, each=4 * 4 * 64)  # with its statistics
    assert rows["layers.4"] == Amount(0, 8 * 4 * 16)  # its input is relu's result
    assert [row.path for row, _ in most(counted.saved_by, 2)] == [
        "layers.2", "layers.3", "layers.6",
    ]  # fmt: skip
    kept_on = memory(SMALL, accumulate=2)
    assert 0 <= kept_on.peak(4) - memory(SMALL).peak(4) <= kept_on.gradients


@pytest.mark.parametrize("room", [10**5, 10**6 + 17, 10**7, 12345678])
@pytest.mark.parametrize("training", [False, True])
def test_the_largest_batch_fits_and_one_more_does_not(room: int, training: bool) -> None:
    counted = memory(SMALL)
    batch = counted.largest_batch(room, training=training)
    assert batch > 0
    assert counted.peak(batch, training=training) <= room
    assert counted.peak(batch + 1, training=training) > room
    assert counted.largest_batch(100, training=training) == 0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        *((name, {}) for name in ("Adadelta", "Adagrad", "Adam", "Adamax", "AdamW", "ASGD")),
        *((name, {}) for name in ("NAdam", "RAdam", "RMSprop", "Rprop", "SGD", "Muon")),
        ("Adam", {"amsgrad": True}),
        ("SGD", {"momentum": 0.9}),
        ("RMSprop", {"momentum": 0.9, "centered": True}),
    ],
)
def test_the_state_of_optimizers(name: str, arguments: dict[str, Any]) -> None:
    weight = torch.nn.Parameter(torch.randn(5, 7))
    optimizer = getattr(torch.optim, name)([weight], **arguments)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    state = optimizer.state.get(weight, {}).values()
    numbers = sum(t.numel() for t in state if isinstance(t, torch.Tensor) and t.dim())
    assert state_numbers({name.lower(): arguments}) == numbers / weight.numel()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GiB", 8 * 2**30), ("500MB", 500 * 10**6), ("1.5 gib", 3 * 2**29), ("2k", 2048),
        ("3KB", 3000), ("7B", 7), ("1T", 2**40),
    ],
)  # fmt: skip
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "8", "GiB", "8 gigs", "-1GiB", "1e3MB", "nanB", "٣GiB"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(Fault, match="is not an amount of memory"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": "adm"}, "'adm' keeps is not known"),
        ({"precision": "fp8"}, "no precision 'fp8'"),
    ],
)
def test_settings_without_figures(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(Fault, match=message):
        memory(SMALL, **arguments)


ROUND = Device("round", 10**6, bandwidth=1e3, flops={"fp32": 1e6})


def test_the_roofline_by_hand() -> None:
    traced = trace(Spec(input=(10,), layers=[{"linear": {"out_features": 20, "bias": False}}]))
    bound = roofline(traced, ROUND, batch=2, precision="fp32", optimizer="sgd")
    forward = 4 * (2 * 10 + 200 + 2 * 20)  # input, weight, output
    backward = 4 * (2 * 20 + 2 * 10 + 2 * 200)  # gradient, input; weight and its gradient
    assert bound.moved == forward + backward + 3 * 4 * 200
    assert bound.flops == 2 * 2 * 2 * 200  # forward and for the weight; the input has no gradient
    assert bound.seconds == pytest.approx(bound.moved / 1e3)
    assert bound.computing == 0
    slow = Device("slow", 10**6, bandwidth=1e9, flops={"fp32": 1e3})
    bound = roofline(traced, slow, batch=2, precision="fp32", optimizer="sgd")
    assert bound.computing == pytest.approx(bound.flops / 1e3)


def test_devices() -> None:
    assert find_device("A100").name.startswith("a100")
    assert [device.precision for device in (DEVICES["t4"], DEVICES["l4"], ROUND)] == [
        "fp16", "bf16", "fp32",
    ]  # fmt: skip
    with pytest.raises(Fault, match="no figures for a device called 'h300'"):
        find_device("h300")
    with pytest.raises(Fault, match="t4 has no bf16"):
        roofline(SMALL, DEVICES["t4"], batch=1, precision="bf16")


def test_the_budget_follows_the_recipe() -> None:
    train = {"batch_size": 4, "optimizer": "sgd", "precision": "auto"}
    spec = SMALL.spec.model_copy(update={"train": train})
    plain, there = budget(spec), budget(spec, device=DEVICES["l4"])
    assert (plain.batch, plain.memory.precision, plain.memory.state) == (4, "fp32", 0)
    assert (plain.room, plain.largest, plain.bound) == (None, None, None)
    assert there.memory.precision == "bf16"
    assert there.memory.gpu
    assert there.room == 24 * 10**9
    assert there.bound is not None
    assert budget(spec, device=DEVICES["l4"], room=10**6).room == 10**6
