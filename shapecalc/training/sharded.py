"""A network of which each process keeps a share: of every tensor, its gradient and what the
optimizer keeps for it.

A layer's tensors are gathered when it runs and given up after it, so all processes go through the
network equally often: torch.distributed.fsdp.fully_shard, known as FSDP2. What is saved is whole,
and the same as that of a network which each process has for itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor

from shapecalc.diagnostics import Fault
from shapecalc.language.recipe import Recipe, named
from shapecalc.training.device import Precision
from shapecalc.training.distributed import lost, rank, world

_OF_WHOLE = ("adafactor", "muon", "rprop")
"""Optimizers for which torch has no way to work on shares of a tensor."""


def is_to_be_sharded(recipe: Recipe) -> bool:
    """Whether a recipe asks for it; where there is one process it has all."""
    return recipe.parallel == "fsdp" and world() > 1


def expect_shardable(recipe: Recipe, precision: Precision) -> None:
    """Raises Fault where another setting asks for what a share of the network cannot do."""
    if not is_to_be_sharded(recipe):
        return
    name = named(recipe.optimizer)[0].lower().replace("_", "")
    if recipe.compile:
        what, help = "compile: true", "leave compile out"
    elif recipe.freeze:
        what, help = f"freeze: {recipe.freeze}", "write freeze: 0"
    elif precision.dtype == torch.float16:
        what, help = "precision: fp16", "write precision: bf16, or fp32"
    elif name in _OF_WHOLE:
        what, help = f"optimizer: {name}", "take another, such as adamw"
    else:
        return
    message = f"parallel: fsdp does not go with {what}"
    raise Fault("E501", message, argument="parallel", help=f"{help}; or write parallel: ddp")


def shard(device: torch.device, *models: nn.Module) -> None:
    """Leave each process its share of networks that all of them have alike."""
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (world(),))
    for model in models:
        layers = [m for m in model.modules() if list(m.parameters(recurse=False))]
        for module in (*layers, *([] if model in layers else [model])):
            made = fully_shard(module, mesh=mesh)
            made.set_gradient_divide_factor(1.0)  # a sum, as each loss is divided by all samples
            made.set_force_sum_reduction_for_comms(True)


def is_sharded(model: nn.Module) -> bool:
    """Whether processes have shares of a network."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def own(tensor: Tensor) -> Tensor:
    """The share of a tensor that this process has, or the tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gathered(tensor: Tensor) -> Tensor:
    """All of a tensor, in each process."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole(state: Any) -> Any:
    """A state with all of each tensor, on the CPU, for the first process; the others, which must
    come along, are given none of those that are shared."""
    if isinstance(state, Mapping):
        return {key: whole(value) for key, value in state.items()}
    if not isinstance(state, DTensor):
        return state
    full = state.full_tensor()
    return None if rank() else full.cpu()


def shared_as(like: Any, full: Any) -> Any:
    """This process's share of a whole tensor, where `like` is the share of one."""
    if not isinstance(like, DTensor) or not isinstance(full, Tensor) or full.shape != like.shape:
        return full
    full = full.to(like.device).contiguous()
    return distribute_tensor(full, like.device_mesh, like.placements, src_data_rank=None)


def load(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a network, of which this process may have a share, the tensors of a whole one."""
    mine = model.state_dict()
    model.load_state_dict({key: shared_as(mine.get(key), full) for key, full in state.items()})


def load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """The same for what an optimizer keeps for each parameter."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    kept = {
        index: {key: shared_as(parameters[index], full) for key, full in of_one.items()}
        for index, of_one in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": kept})


@contextlib.contextmanager
def losing_others() -> Iterator[None]:
    """Layers that wait for processes which have ended raise Lost."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error).lower():
            raise lost(error) from error
        raise
