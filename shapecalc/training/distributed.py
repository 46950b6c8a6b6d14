"""Several processes that train one network: what they add up, and what the first does for all.

Each has the whole network and a share of each batch. Gradients are added up once for each step of
the optimizer, when all of it is computed: so a process may go through its share in as many parts as
it has memory for, and where one cannot go on, no step was made that the others have not made.

In a process that is alone all this does nothing.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeGuard, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from shapecalc.diagnostics import Diagnostic, RunError, ShapecalcError
from shapecalc.training.checkpoint import reason
from shapecalc.training.launch import launch
from shapecalc.training.reporter import Reporter
from shapecalc.training.stop import Stop, Stopped

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

T = TypeVar("T")

_PATIENCE = timedelta(hours=2)
"""How long a process waits for another, such as for all pictures to be looked at."""
_AT_ONCE = 2**23
"""Numbers that are sent at once: 32 MiB of fp32."""


class Lost(RunError):
    """Another process has ended, or cannot be reached."""


@contextlib.contextmanager
def group(device: torch.device) -> Iterator[None]:
    """Within it this process and the others that torchrun has started work together."""
    if launch().world == 1 or dist.is_initialized():
        yield
        return
    backend = "gloo"  # for what is on the CPU, also of a training on GPUs
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    with _others():
        store, number, count = next(rendezvous("env://", timeout=_PATIENCE))
        if launch().local_world == count:
            # One machine's launcher keeps its store over a restart, and in it the addresses of
            # processes that are gone; machines that join later have other counts.
            store = dist.PrefixStore(f"start {launch().restarts}", store)  # type: ignore[attr-defined]
        dist.init_process_group(
            backend, store=store, rank=number, world_size=count, timeout=_PATIENCE
        )
    try:
        yield
    except RunError as error:
        if rank() and _is_of_all(error):
            with contextlib.suppress(Lost):  # torchrun ends the first as soon as another has ended
                wait()
        raise
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """The number of this process."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def told_by_first(reporter: Reporter) -> Reporter:
    """What the others tell is not heard, for the first tells it."""
    return Reporter() if rank() else reporter


def is_told_by_first(error: ShapecalcError) -> bool:
    """Whether an error is one that the first process has, too, or tells for this one."""
    return launch().rank > 0 and (_is_of_all(error) or isinstance(error, Lost))


def _is_of_all(error: ShapecalcError) -> bool:
    """Whether all have it, for what they add up is no number."""
    return any(d.code == "E504" for d in error.diagnostics)


def of_first(context: AbstractContextManager[T]) -> AbstractContextManager[T | None]:
    """A context that the first process alone enters."""
    return contextlib.nullcontext() if rank() else context


def share(make: Callable[[], T]) -> T:
    """What `make` gives in the first process, for all of them. Raises Lost."""
    if world() == 1:
        return make()
    made = [None if rank() else make()]
    with _others():
        dist.broadcast_object_list(made, device=torch.device("cpu"))
    return cast(T, made[0])


@contextlib.contextmanager
def in_turn() -> Iterator[None]:
    """The first process of each machine goes through it before the others do: so they find what it
    has written, and an error that all would have is told once. Raises Lost."""
    leads = launch().local_rank == 0
    if not leads:
        wait()
    yield
    if leads:
        wait()


def wait() -> None:
    """Until all processes have come here. Raises Lost."""
    add_up([torch.zeros(1)])


class Together(Stop):
    """The wish of any process to end, which all hear at the same place."""

    def __init__(self, own: Stop) -> None:
        super().__init__()
        self._own = own

    def check(self) -> None:
        """All must come here. Raises Stopped, and Lost."""
        wishes = torch.tensor([float(self._own.asked is not None)])
        add_up([wishes])
        if wishes.item():
            raise Stopped(self._own.asked or signal.SIGTERM)


def is_share(tensor: object) -> TypeGuard[DTensor]:
    """Whether it is this process's share of a tensor that others have the rest of."""
    if world() == 1:
        return False
    from torch.distributed.tensor import DTensor  # half a second, for those who need it

    return isinstance(tensor, DTensor)


def add_up(tensors: Iterable[Tensor]) -> None:
    """Make each the sum of those that all processes have. Raises Lost."""
    if world() == 1:
        return
    for some in _portions(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in some])
        with _others():
            dist.all_reduce(flat)
        totals = torch.split(flat, [tensor.numel() for tensor in some])
        for tensor, total in zip(some, totals, strict=True):
            tensor.copy_(total.view_as(tensor))


def add_up_gradients(model: nn.Module) -> None:
    """Each parameter's gradient becomes the sum of all, as it is already where processes have
    shares of it; statistics become the mean, where each process has its own. Raises Lost."""
    if world() == 1:
        return
    whole = (p for p in model.parameters() if not is_share(p))
    parameters = [p for p in whole if p.requires_grad]
    for parameter in parameters:
        if parameter.grad is None:  # a process without a sample has none
            parameter.grad = torch.zeros_like(parameter)
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    with torch.no_grad():
        add_up(p.grad for p in parameters if p.grad is not None)
        add_up(buffers)
        for buffer in buffers:
            buffer /= world()


def make_same(model: nn.Module) -> None:
    """All processes get the tensors of the first, but for those they have shares of. Raises
    Lost."""
    if world() == 1:
        return
    for tensor in model.state_dict().values():
        if is_share(tensor):
            continue
        with _others():
            dist.broadcast(tensor, 0)


def _portions(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in order, as many at a time as are sent at once, all of one type."""
    some: list[Tensor] = []
    for tensor in tensors:
        size = sum(t.numel() for t in some) + tensor.numel()
        if some and (size > _AT_ONCE or tensor.dtype != some[0].dtype):
            yield some
            some = []
        some.append(tensor)
    if some:
        yield some


@contextlib.contextmanager
def _others() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise lost(error) from error


def lost(error: Exception) -> Lost:
    """What torch says where another process is missing, in our words."""
    why = reason(error).split(". ")[0]
    message = f"another process of this training has ended or cannot be reached: {why}"
    return Lost([Diagnostic("E503", message, help=HELP)])


HELP = "torchrun tells which one ended first; with --max-restarts it starts them anew"
