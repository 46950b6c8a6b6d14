"""The `train:` section of a spec: how the network is to be trained."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

Count = Annotated[int, Field(ge=1)]
Named = str | dict[str, dict[str, Any] | None]
"""A thing of torch by its snake-case name, alone or with arguments: `{adamw: {lr: 1e-3}}`."""


def named(value: Named) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of a `Named`."""
    if isinstance(value, str):
        return value, {}
    ((name, arguments),) = value.items()
    return name, arguments or {}


Rewrite = Literal[
    "batch_norm", "average_first", "compose", "normalize", "pool_first", "stem", "small_indices"
]
"""Another way to the same numbers: see `analysis.rewrites`."""

_MINUTES = r"^(\d{1,6}(?:\.\d{1,6})?) ?min$"


def minutes(text: str) -> float:
    """`5min` as a number. Raises ValueError."""
    found = re.match(_MINUTES, text, re.ASCII)
    if not found or not float(found[1]):
        raise ValueError("takes a number of steps, or minutes", "write 100, or 5min")
    return float(found[1])


def _as_minutes(text: str) -> str:
    minutes(text)
    return text


Minutes = Annotated[
    str, AfterValidator(_as_minutes), Field(json_schema_extra={"pattern": _MINUTES})
]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


class SyntheticApparel(_Section):
    """Fifteen categories of apparel, drawn by the program; the counts are pictures per class."""

    train: Count = 60
    valid: Count = 12
    seed: Annotated[int, Field(ge=0)] = 0


class FolderData(_Section):
    """Class folders under `train/`, `valid/` and maybe `test/`, or a single folder of classes."""

    folder: str
    valid: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The share of each class that a folder without a validation split gives to validation."""


class TorchvisionData(_Section):
    """A data set of torchvision by its class name, downloaded into `root` on first use."""

    torchvision: str
    root: str = "data"
    valid: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The share of the training set that is kept for validation."""


class Statistics(_Section):
    """Mean and standard deviation of each channel, for pixels from 0 to 1."""

    mean: Annotated[tuple[float, ...], Field(strict=False)]
    std: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(strict=False)]

    @model_validator(mode="after")
    def _same_channels(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError(f"{len(self.mean)} means for {len(self.std)} deviations")
        return self


class Recipe(_Section):
    """All settings of a training run, each with a default that works."""

    data: SyntheticApparel | FolderData | TorchvisionData | None = None
    resize: Literal["squish", "crop", "pad"] = "squish"
    """How a picture comes to the input's size: its sides scaled apart, its middle cut out, or
    its longer side fitted and the rest filled."""
    augment: Annotated[tuple[Named, ...], Field(strict=False)] = ()
    """Changes to the training pictures, made anew in each epoch: torchvision's, one after the
    other, and then `mixup` or `cutmix`, which mix the pictures of a batch."""
    normalize: Literal["measured", "imagenet"] | Statistics | None = "measured"
    loss: Named = "cross_entropy"
    """A loss of torch by its name, such as `{cross_entropy: {label_smoothing: 0.1}}`, or
    `{focal: {gamma: 2}}`."""
    class_weights: (
        Literal["balanced"]
        | Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(strict=False)]
        | None
    ) = None
    """How much the loss of each class counts in training, in the order of the classes; `balanced`
    makes up for unequal numbers of training pictures."""
    optimizer: Named = "adamw"
    schedule: Named | None = None
    """How the learning rate changes: a schedule of torch by its name, such as `one_cycle`,
    `cosine`, `step` or `plateau`."""
    freeze: Annotated[int, Field(ge=0)] | None = None
    """Epochs in which the last layer alone is trained, and all before it, with the statistics of
    its batch_norm, stays as it is: 1 where `init` names weights, else 0. The schedule begins after
    them."""
    lr_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    """How much smaller the rate is in each quarter of the layers than in the next, the last layer
    having the whole: 0.5 where `init` names weights, else 1."""
    warmup: Annotated[float, Field(gt=0)] | None = None
    """Epochs, or a share of one, in which the rate rises in a straight line before the schedule."""
    epochs: Count = 10
    batch_size: Count = 32
    accumulate: Count = 1
    """Batches whose gradients are summed into one step of the optimizer."""
    clip_grad_norm: Annotated[float, Field(gt=0)] | None = None
    early_stop: Count | None = None
    """Epochs without a better validation accuracy after which training ends."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of an exponential moving average of the weights, such as 0.999, which is then what is
    validated and kept as the best and the last. It takes less from before in the first steps."""
    tta: Literal["flips"] | None = None
    """Views of a picture whose probabilities `eval`, `predict` and `report` take the mean of, with
    `flips` itself and its mirror image."""
    save_every: Count | Minutes | None = None
    """When the state is saved within an epoch, besides at its end: every so many steps of the
    optimizer, such as 100, or every so many minutes, such as `5min`."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    cuda_graphs: bool = True
    """Whether the pass of a batch is recorded on a GPU and then replayed as one. It changes nothing
    in what is learned."""
    rewrites: Literal["auto"] | Annotated[tuple[Rewrite, ...], Field(strict=False)] = "auto"
    """Other ways to compute the same, each taken where it pays: `compose` two convolutions or
    linear layers in a row, add bias and activation behind max_pool (`pool_first`), average before a
    convolution of 1x1 (`average_first`), `normalize` within the first convolution, do that and its
    max_pool in one (`stem`), keep `small_indices` of max_pool, and fold `batch_norm` when
    evaluating. `[]` takes none."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """What each of several processes has of the network: all of it, or with `fsdp` a share of every
    tensor, its gradient and what the optimizer keeps for it, for networks that are too large for
    one GPU."""
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    cache: Literal["auto", "device", "memory", "disk", "none"] = "auto"
    """Where pictures are held once they are decoded: on the GPU, in memory, or in a file; with
    `none` they are decoded in every epoch. It changes nothing in what is learned."""
    init: Named | None = None
    """Weights to start from: a way of `torch.nn.init` to draw them, such as `kaiming_normal` or
    `{trunc_normal: {std: 0.02}}`; a run, or a `.safetensors` or `.pt` file of a state dict; or
    weights that torchvision publishes, such as `torchvision:resnet50` for the best of them and
    `torchvision:ResNet50_Weights.IMAGENET1K_V1` for these. A last layer of another shape starts
    anew, and settings that are left open are those that suit the weights: `normalize`, `resize`,
    `freeze`, `lr_decay` and `schedule: one_cycle`."""

    @field_validator("data", mode="before")
    @classmethod
    def _short_data(cls, value: Any) -> Any:
        """`synthetic_apparel` stands for itself, alone or with its counts."""
        if value == "synthetic_apparel":
            return SyntheticApparel()
        if isinstance(value, dict) and set(value) == {"synthetic_apparel"}:
            return SyntheticApparel.model_validate(value["synthetic_apparel"] or {})
        if isinstance(value, dict):
            kind = TorchvisionData if "torchvision" in value else FolderData
            return kind.model_validate(value)
        return value

    @field_validator("loss", "optimizer", "schedule", "init", "augment")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, dict) and len(item) != 1:
                raise ValueError("takes one name with its arguments")
        return value
