"""The apparel network as one writes it in torch, and its table through torchinfo."""

from torch import nn
from torchinfo import summary


def block(
    channels: int, middle: int, out: int, first: int, second: int, pool: int
) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, middle, first),
        nn.Conv2d(middle, out, second),
        nn.MaxPool2d(pool),
        nn.ReLU(),
    ]


network = nn.Sequential(
    *block(3, 8, 16, 3, 3, 2),
    *block(16, 32, 32, 5, 3, 4),
    *block(32, 64, 64, 3, 5, 2),
    *block(64, 128, 128, 5, 3, 2),
    nn.Flatten(),
    nn.Linear(15488, 15),
)
columns = ("output_size", "num_params", "mult_adds", "kernel_size")
summary(network, (1, 3, 512, 512), col_names=columns, verbose=1)
