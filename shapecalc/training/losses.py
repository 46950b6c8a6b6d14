"""Losses that torch does not have, and the weights of classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from shapecalc.diagnostics import Fault


class Focal(nn.Module):
    """Cross-entropy in which what is right already counts less: the loss of a picture whose class
    has probability p is -(1 - p)^gamma log p.

    Lin et al., Focal loss for dense object detection, 2017 (arXiv:1708.02002), equation 4. Takes
    outputs before the softmax.
    """

    def __init__(self, gamma: float = 2.0, reduction: str = "mean") -> None:
        super().__init__()
        if not gamma >= 0:
            raise Fault("E501", f"gamma of focal is to be at least 0, not {gamma}", argument="loss")
        self.gamma, self.reduction = float(gamma), reduction

    def forward(self, output: Tensor, labels: Tensor) -> Tensor:
        logs = -nn.functional.cross_entropy(output, labels, reduction="none")
        wrong = -torch.expm1(logs)  # 1 - p, exact also where p is near 1
        # A fractional power has no slope at 0.
        losses = -logs * wrong.clamp(min=torch.finfo(wrong.dtype).tiny) ** self.gamma
        return losses if self.reduction == "none" else losses.mean()


class Weighted(nn.Module):
    """The mean of losses, each multiplied by the weight of its class.

    The sum is divided by the number of pictures, not by that of their weights: so a batch may be
    computed in parts.
    """

    def __init__(self, each: nn.Module, weights: Sequence[float]) -> None:
        """`each` gives the loss of every picture."""
        super().__init__()
        self.each = each
        self.weights: Tensor
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32))

    def forward(self, output: Tensor, labels: Tensor) -> Tensor:
        losses: Tensor = self.each(output, labels)
        return (losses * self.weights[labels]).mean()


def class_weights(
    setting: Literal["balanced"] | Sequence[float] | None,
    classes: Sequence[str],
    labels: Sequence[int],
) -> tuple[float, ...] | None:
    """The weight of each class that `class_weights:` asks for. Raises Fault.

    `balanced` is pictures / (classes x pictures of the class), of the training pictures: their
    mean weight is 1.
    """
    if setting is None:
        return None
    if setting == "balanced":
        counts = Counter(labels)
        each = len(labels) / len(classes)
        return tuple(each / max(1, counts[k]) for k in range(len(classes)))
    if len(setting) != len(classes):
        raise Fault(
            "E501",
            f"class_weights has {len(setting)} weights, but the data has {len(classes)} classes",
            argument="class_weights",
            help=f"give one for each, in this order: {_listed(classes)}; or write balanced",
        )
    return tuple(float(weight) for weight in setting)


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(classes[:12]) + (", ..." if len(classes) > 12 else "")
