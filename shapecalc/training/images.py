"""From a picture, in a file or in memory, to a tensor: the one conversion that all data goes
through.

A picture is turned upright by its EXIF orientation; of an animation the first frame counts;
transparency lies on white; 16-bit pixels are scaled to 8 bits; CMYK and palettes become RGB; and
it is resized bilinearly with antialiasing. What cannot be read whole is an error and is never
made up for.
"""

from __future__ import annotations

import math
import re
import threading
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Resize = Literal["squish", "crop", "pad"]

CONVERSION = 1
"""The version of the conversion: a new one where any picture comes out otherwise than before."""

Image.init()
_FORMATS = {  # no others: Pillow hands a PostScript file to another program, whatever its suffix
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "PNG": (".png",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm"),
    "AVIF": (".avif",),
}
_READABLE = [name for name in _FORMATS if name in Image.OPEN]

IMAGE_SUFFIXES = frozenset(suffix for name in _READABLE for suffix in _FORMATS[name])
"""The suffixes, in lower case, of the files that are taken for pictures."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to what undoes it; from 5 on width and height change places."""

_GAP = 3.0
"""Cheap shrinking stops at this multiple of the final size; from 3 on Pillow calls the result
indistinguishable from resampling every pixel."""


class UnreadableImage(Exception):
    """A picture that cannot be read; `reason` goes on where the path ends: "is truncated"."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(str(path), reason)
        self.path, self.reason = str(path), reason

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


def read_image(
    path: str | Path, *, channels: int, size: tuple[int, int], resize: Resize
) -> torch.Tensor:
    """The picture in a file as uint8 [channels, H, W], with `size` = (H, W).

    Raises UnreadableImage.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UnreadableImage(path, f"cannot be opened: {reason}") from error
    with _SILENCE:
        try:
            image = _decode(data, size, resize)
        except Exception as error:  # decoders raise whatever they trip over
            raise UnreadableImage(path, _reason(error, data)) from error
        try:
            return convert_image(image, channels=channels, size=size, resize=resize)
        except ValueError as error:
            raise UnreadableImage(path, f"cannot be converted: {error}") from error


class _Silence:
    """Keeps Pillow's warnings, about metadata that is not used here, from the user while any thread
    is within it, for the filters of warnings are those of all threads."""

    def __init__(self) -> None:
        self._lock, self._within = threading.Lock(), 0
        self._before: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._within:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.simplefilter("ignore")
            self._within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                self._before.__exit__()


_SILENCE = _Silence()


def convert_image(
    image: Image.Image, *, channels: int, size: tuple[int, int], resize: Resize
) -> torch.Tensor:
    """A picture as uint8 [channels, H, W], with `size` = (H, W) and 1 or 3 channels, which lie
    beside each other in memory.

    Raises ValueError for pixels that have no defined conversion.
    """
    image.load()
    turn = _TURNS.get(_orientation(image))  # once loaded: Pillow turns a TIFF while loading it
    image = _colours(image, "L" if channels == 1 else "RGB")
    if turn is not None:
        image = image.transpose(turn)
    pixels = np.array(_resized(image, size, resize)).reshape(*size, channels)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _decode(data: bytes, size: tuple[int, int], resize: Resize) -> Image.Image:
    """The pixels of a file; a JPEG much larger than `size` is shrunk while it is decoded."""
    image = Image.open(BytesIO(data), formats=_READABLE)
    most = Image.MAX_IMAGE_PIXELS
    if most and image.width * image.height > most:  # of which Pillow only warns, up to the double
        raise Image.DecompressionBombError(f"{image.width * image.height} pixels, {most} allowed")
    jpeg = image.format in ("JPEG", "MPO")
    if jpeg:
        sideways = _orientation(image) >= 5
        width, height = _extent(image.size, size[::-1] if sideways else size, resize)
        image.draft(None, (math.ceil(_GAP * width), math.ceil(_GAP * height)))
    image.load()
    if not (_has_end(data) if jpeg else image.format != "PNG" or _PNG_END in data):
        raise EOFError("the mark of the end is missing")
    return image


_END = b"\xff\xd9"
_PNG_END = b"IEND\xaeB`\x82"  # with its checksum
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # 00 is a stuffed byte, D0 to D7 restarts


def _has_end(jpeg: bytes) -> bool:
    """Whether a JPEG's end marker is there, which a cut or zero-filled download lacks.

    libjpeg makes up for it silently once it has seen enough.
    """
    if jpeg.rstrip(b"\0").endswith(_END):
        return True
    position = 2
    while found := _MARKER.search(jpeg, position):  # behind the end marker anything may follow
        if found[0] == _END:
            return True
        position = found.end()
        position += int.from_bytes(jpeg[position : position + 2], "big")
    return False


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # broken metadata takes nothing from the pixels
        return 1


def _colours(image: Image.Image, mode: Literal["L", "RGB"]) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        return Image.fromarray(_eight_bits(np.asarray(image))).convert(mode)
    if image.mode == "F":
        raise ValueError("float pixels have no fixed range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return image.convert(mode)


def _eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """0..65535 scaled to 0..255, rounded."""
    wide = pixels.astype(np.int64)
    if wide.size and (wide.min() < 0 or wide.max() > 65535):
        raise ValueError(f"its pixels go from {wide.min()} to {wide.max()}, beyond 16 bits")
    return ((wide * 255 + 32767) // 65535).astype(np.uint8)


def _extent(of: tuple[int, int], size: tuple[int, int], resize: Resize) -> tuple[int, int]:
    """Width and height of the whole picture `of` (width, height) once it is resized to (H, W)."""
    height, width = size
    across, down = width / of[0], height / of[1]
    if resize == "squish":
        return width, height
    scale = max(across, down) if resize == "crop" else min(across, down)
    return max(1, round(of[0] * scale)), max(1, round(of[1] * scale))


def _resized(image: Image.Image, size: tuple[int, int], resize: Resize) -> Image.Image:
    height, width = size
    box = (0.0, 0.0, float(image.width), float(image.height))
    if resize == "crop":
        scale = max(width / image.width, height / image.height)
        left = max(0.0, (image.width - width / scale) / 2)
        top = max(0.0, (image.height - height / scale) / 2)
        box = (left, top, image.width - left, image.height - top)
    inner = _extent(image.size, size, resize) if resize == "pad" else (width, height)
    image = image.resize(inner, Image.Resampling.BILINEAR, box, _GAP)
    if inner == (width, height):
        return image
    canvas = Image.new(image.mode, (width, height))  # black
    canvas.paste(image, ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return canvas


def _reason(error: Exception, data: bytes) -> str:
    """Why a file could not be decoded, as the rest of a sentence that begins with its path."""
    if not data:
        return "is empty"
    if isinstance(error, Image.DecompressionBombError):
        pixels, limit = (int(number) for number in re.findall(r"\d+", str(error))[:2])
        return f"has {pixels / 1e6:.0f} million pixels, more than the {limit / 1e6:.0f} allowed"
    if isinstance(error, UnidentifiedImageError):
        if data.lstrip().startswith(b"<"):
            return "is no image but a page of HTML or XML"
        known = data.startswith((b"\xff\xd8", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*", b"MM"))
        return "is truncated or damaged at its beginning" if known else "is no image"
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return "is truncated"
    return f"is damaged: {error or type(error).__name__}"
