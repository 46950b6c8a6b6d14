"""Small pictures as `data:` addresses, which a page holds in itself."""

from __future__ import annotations

import base64
import io
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""[H, W, 3] in colour or [H, W] in grey."""

_SIDE = 176
"""The longer side of a thumbnail."""
_SMALL = 96
"""Pictures of fewer pixels are kept as they are, for a JPEG would smear them."""
_HEAT = np.array(
    [(38, 20, 90), (120, 28, 109), (196, 48, 74), (240, 104, 30), (252, 178, 32), (252, 250, 165)],
    dtype=np.float64,
)
"""From nothing to most, each lighter than the one before."""


def thumbnail(pixels: Pixels) -> str:
    """A picture, made smaller where it is large."""
    return _lasting(_smaller(Image.fromarray(pixels)))


def heated(pixels: Pixels, heat: NDArray[np.float32]) -> str:
    """A picture in dark grey, lit up and coloured where `heat` [h, w], 0 to 1, is strong."""
    image = _smaller(Image.fromarray(pixels)).convert("L")
    over = Image.fromarray(heat.astype(np.float32)).resize(image.size, Image.Resampling.BILINEAR)
    share = np.asarray(over, dtype=np.float64).clip(0, 1)[..., None]
    steps = np.linspace(0, 1, len(_HEAT))
    colour = np.concatenate([np.interp(share, steps, channel) for channel in _HEAT.T], axis=2)
    grey = np.asarray(image, dtype=np.float64)[..., None]
    opaque = 0.6 * share
    mixed = grey * (0.45 + 0.55 * share) * (1 - opaque) + colour * opaque
    return _lasting(Image.fromarray(mixed.round().astype(np.uint8)))


def exact(pixels: Pixels) -> str:
    """A picture of few pixels, none of them changed."""
    return _uri(Image.fromarray(pixels), "PNG")


def shares(matrix: NDArray[np.float64], colour: tuple[int, int, int]) -> str:
    """A matrix of numbers from 0 to 1, a pixel for each, as so much of a colour."""
    pixels = np.empty((*matrix.shape, 4), dtype=np.uint8)
    pixels[..., :3] = colour
    pixels[..., 3] = (255 * matrix).round()
    return exact(pixels)


def _smaller(image: Image.Image) -> Image.Image:
    if max(image.size) > _SIDE:
        image.thumbnail((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    return image


def _lasting(image: Image.Image) -> str:
    return _uri(image, "PNG" if max(image.size) <= _SMALL else "JPEG")


def _uri(image: Image.Image, format: Literal["PNG", "JPEG"]) -> str:
    buffer = io.BytesIO()
    settings: dict[str, Any] = {"quality": 85} if format == "JPEG" else {}
    image.save(buffer, format, optimize=True, **settings)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{format.lower()};base64,{data}"
