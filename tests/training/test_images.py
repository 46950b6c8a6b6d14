"""One defined conversion for every kind of picture, and every broken file named."""

from __future__ import annotations

import io
import pickle
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shapecalc.training.images import IMAGE_SUFFIXES, UnreadableImage, convert_image, read_image


def photograph(width: int, height: int) -> Image.Image:
    """Smooth colours with some grain, the same every time."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [np.sin(x / 17) + np.cos(y / 23), np.sin(x / 31 - y / 19), np.cos(x * y / 9000)]
    grain = np.random.default_rng(0).normal(0, 6, (height, width, 3))
    pixels = np.stack(channels, -1) * 60 + 128 + grain
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def read(path: Path, channels: int = 3, size: tuple[int, int] | None = None) -> torch.Tensor:
    if size is None:
        with Image.open(path) as image:
            size = image.size[::-1]
    return read_image(path, channels=channels, size=size, resize="squish")


def colours(pixels: torch.Tensor) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in pixels.flatten(1).T.tolist()}


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def palette() -> Image.Image:
    image = Image.new("P", (2, 2))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1, 1, 0])
    return image


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.array([[0, 257], [32768, 65535]], dtype=np.uint16))


def alpha() -> Image.Image:
    return Image.fromarray(
        np.array([[[255, 0, 0, 255], [255, 0, 0, 0]], [[0, 0, 0, 128], [0, 200, 0, 255]]], np.uint8)
    )


def grey_alpha() -> Image.Image:
    return Image.fromarray(np.array([[[10, 255], [10, 0]], [[0, 51], [200, 255]]], np.uint8))


def cmyk() -> Image.Image:
    inks = [[[0, 255, 255, 0], [0, 0, 0, 0]], [[0, 0, 0, 255], [255, 0, 0, 0]]]
    return Image.frombytes("CMYK", (2, 2), np.array(inks, np.uint8).tobytes())


RED, BLUE, WHITE, BLACK, CYAN = (255, 0, 0), (0, 0, 255), (255,) * 3, (0,) * 3, (0, 255, 255)
COLOURS: list[tuple[str, Callable[[], Image.Image], str, list[tuple[int, ...]]]] = [
    ("palette", palette, "PNG", [RED, BLUE, BLUE, RED]),
    ("palette", palette, "GIF", [RED, BLUE, BLUE, RED]),
    ("16 bits", sixteen_bits, "PNG", [BLACK, (1,) * 3, (128,) * 3, WHITE]),
    ("16 bits", sixteen_bits, "TIFF", [BLACK, (1,) * 3, (128,) * 3, WHITE]),
    ("alpha", alpha, "PNG", [RED, WHITE, (127,) * 3, (0, 200, 0)]),
    ("grey with alpha", grey_alpha, "PNG", [(10,) * 3, WHITE, (204,) * 3, (200,) * 3]),
    ("cmyk", cmyk, "TIFF", [RED, WHITE, BLACK, CYAN]),
    ("one bit", lambda: alpha().getchannel(3).convert("1", dither=Image.Dither.NONE), "PNG",
     [WHITE, BLACK, WHITE, WHITE]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "format", "expected"), [case[1:] for case in COLOURS], ids=[c[0] for c in COLOURS]
)
def test_colours_become_rgb(
    tmp_path: Path,
    make: Callable[[], Image.Image],
    format: str,
    expected: list[tuple[int, ...]],
) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encoded(make(), format))
    pixels = read(path)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (3, 2, 2)
    assert pixels.permute(1, 2, 0).is_contiguous()
    assert [tuple(pixel) for pixel in pixels.flatten(1).T.tolist()] == expected


def test_a_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    path = tmp_path / "ink.jpg"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path, quality=95)
    red, green, blue = read(path).flatten(1).float().mean(1).tolist()
    assert red > 250
    assert green < 5
    assert blue < 5


def test_a_transparent_palette_entry_is_white(tmp_path: Path) -> None:
    path = tmp_path / "sign.png"
    palette().save(path, transparency=1)
    assert read(path).flatten(1).T.tolist() == [[255, 0, 0], [255] * 3, [255] * 3, [255, 0, 0]]


def test_one_channel_is_luminance(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(np.array([[RED, BLUE], [WHITE, CYAN]], np.uint8)).save(path)
    weights = torch.tensor([0.299, 0.587, 0.114])  # ITU-R 601
    expected = (read(path).float().permute(1, 2, 0) @ weights).round()
    assert read(path, channels=1).tolist() == [expected.int().tolist()]


def test_grey_is_the_same_in_three_channels_and_in_one(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    photograph(40, 30).convert("L").save(path)
    assert torch.equal(read(path), read(path, channels=1).expand(3, -1, -1))


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    path = tmp_path / "moving.gif"
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE, WHITE)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50)
    with Image.open(path) as image:
        image.seek(2)  # there are three
    assert colours(read(path)) == {RED}


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, format: str, orientation: int) -> None:
    stored = np.zeros((16, 32), np.uint8)
    stored[:8, :16], stored[8:, :16], stored[:8, 16:] = 250, 170, 90
    upright = {
        1: stored,
        2: np.fliplr(stored),
        3: np.rot90(stored, 2),
        4: np.flipud(stored),
        5: stored.T,
        6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).T,
        8: np.rot90(stored),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned"
    path.write_bytes(encoded(Image.fromarray(stored), format, exif=exif))
    pixels = read(path, channels=1, size=(upright.shape[0], upright.shape[1]))
    assert np.abs(pixels[0].numpy().astype(int) - upright).max() <= (6 if format == "JPEG" else 0)


def test_broken_metadata_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded(photograph(32, 32), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(path, channels=3, size=(8, 8), resize="crop").shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.full((4, 4), 0.5, np.float32), "cannot be converted: float pixels have no fixed range"),
        (
            np.full((4, 4), 70_000, np.int32),
            "cannot be converted: its pixels go from 70000 to 70000, beyond 16 bits",
        ),
    ],
)
def test_pixels_without_a_defined_range_are_refused(
    tmp_path: Path, pixels: np.ndarray, reason: str
) -> None:
    path = tmp_path / "measurement.tiff"
    Image.fromarray(pixels).save(path)
    with pytest.raises(UnreadableImage) as caught:
        read_image(path, channels=1, size=(4, 4), resize="squish")
    assert str(caught.value) == f"{path} {reason}"


def thirds() -> Image.Image:
    """60 wide, 20 high: red, white and blue side by side."""
    image = Image.new("RGB", (60, 20), "white")
    image.paste(RED, (0, 0, 20, 20))
    image.paste(BLUE, (40, 0, 60, 20))
    return image


def test_squish_scales_the_sides_apart() -> None:
    pixels = convert_image(thirds(), channels=3, size=(30, 30), resize="squish")
    assert [tuple(pixels[:, 15, x].tolist()) for x in (2, 15, 27)] == [RED, WHITE, BLUE]


def test_crop_takes_the_middle() -> None:
    pixels = convert_image(thirds(), channels=3, size=(10, 10), resize="crop")
    assert pixels[:, :, 1:-1].eq(255).all()
    wider = convert_image(thirds(), channels=3, size=(10, 20), resize="crop")
    assert tuple(wider[:, 5, 0].tolist()) == RED
    assert tuple(wider[:, 5, -1].tolist()) == BLUE


def test_pad_fits_and_fills_with_black() -> None:
    pixels = convert_image(thirds(), channels=3, size=(30, 30), resize="pad")
    assert pixels[:, :10].eq(0).all()
    assert pixels[:, 20:].eq(0).all()
    assert [tuple(pixels[:, 15, x].tolist()) for x in (2, 15, 27)] == [RED, WHITE, BLUE]


@pytest.mark.parametrize("resize", ["squish", "crop", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7)])
@pytest.mark.parametrize("source", [(1, 1), (1, 900), (900, 1), (33, 47)])
def test_every_size_comes_out(source: tuple[int, int], size: tuple[int, int], resize: str) -> None:
    image = Image.new("RGB", source, (9, 8, 7))
    pixels = convert_image(image, channels=3, size=size, resize=resize)  # type: ignore[arg-type]
    assert pixels.shape == (3, *size)
    if resize != "pad":
        assert colours(pixels) == {(9, 8, 7)}


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_shrinking_agrees_with_resampling_every_pixel(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"large.{suffix}"
    photograph(1600, 1200).save(path)
    with Image.open(path) as image:
        full = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(
        full, (96, 128), mode="bilinear", antialias=True, align_corners=False
    )[0]
    difference = (read(path, size=(96, 128)).float() - expected).abs()
    assert difference.mean() < 0.6
    assert difference.max() < 5


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
def test_a_truncated_jpeg_is_always_named(tmp_path: Path, progressive: bool) -> None:
    whole = encoded(photograph(200, 150), "JPEG", progressive=progressive)
    path = tmp_path / "cut.jpg"
    offsets = {*np.linspace(0, len(whole) - 1, 100, dtype=int).tolist()}
    offsets |= set(range(len(whole) - 8, len(whole)))
    for offset in sorted(offsets):
        for filler in (b"", bytes(len(whole) - offset)):  # a download may leave a tail of zeros
            path.write_bytes(whole[:offset] + filler)
            with pytest.raises(UnreadableImage) as caught:
                read_image(path, channels=3, size=(32, 32), resize="squish")
            assert caught.value.path == str(path)
            assert "\n" not in caught.value.reason
    path.write_bytes(whole[:-2])
    with pytest.raises(UnreadableImage, match=r"cut\.jpg is truncated$"):
        read(path, size=(32, 32))


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "TIFF", "PPM"])
def test_truncated_files_of_other_formats_are_named(tmp_path: Path, format: str) -> None:
    whole = encoded(photograph(40, 30), format)
    path = tmp_path / "cut"
    for offset in np.linspace(0, len(whole) - 2, 40, dtype=int).tolist():
        path.write_bytes(whole[:offset])
        with pytest.raises(UnreadableImage):
            read_image(path, channels=3, size=(32, 32), resize="squish")


def test_what_follows_a_whole_jpeg_does_not_count(tmp_path: Path) -> None:
    whole = encoded(photograph(64, 64), "JPEG")
    path = tmp_path / "motion.jpg"
    path.write_bytes(whole)
    expected = read(path)
    path.write_bytes(whole + b"ftypmp4" + bytes(range(256)) * 9 + b"\xff\xda\xff\xda\0\0")
    assert torch.equal(read(path), expected)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><title>404</title>", "is no image but a page of HTML or XML"),
        (b"once upon a time", "is no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no image"),
        (b"\xff\xd8\xff", "is truncated or damaged at its beginning"),
    ],
)
def test_what_is_no_image_says_so(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    with pytest.raises(UnreadableImage) as caught:
        read_image(path, channels=3, size=(8, 8), resize="squish")
    assert (caught.value.path, caught.value.reason) == (str(path), reason)


def test_threads_read_side_by_side_and_leave_warnings_as_they_were(tmp_path: Path) -> None:
    """A palette with a transparent colour, of which Pillow warns."""
    path = tmp_path / "palette.png"
    image = Image.new("P", (64, 64))
    image.save(path, transparency=bytes(range(256)))
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        within = list(warnings.filters)
        found = list(pool.map(lambda _: read(path, 3, (32, 32)), range(200)))
        assert list(warnings.filters) == within
    assert warned == []
    assert list(warnings.filters) == before
    assert all(torch.equal(found[0], other) for other in found)


@pytest.mark.parametrize("side", [10_000, 30_000])
def test_a_decompression_bomb_is_refused(tmp_path: Path, side: int) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(UnreadableImage, match=f"bomb.png has {side**2 // 10**6} million pixels"):
        read_image(path, channels=3, size=(8, 8), resize="squish")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match=r"gone\.jpg cannot be opened: no such file"):
        read(tmp_path / "gone.jpg", size=(8, 8))
    with pytest.raises(UnreadableImage, match="cannot be opened: is a directory"):
        read(tmp_path, size=(8, 8))


def test_the_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(UnreadableImage("a.jpg", "is truncated")))
    assert (type(error), error.path, error.reason) == (UnreadableImage, "a.jpg", "is truncated")


def test_suffixes_are_lower_case() -> None:
    assert {".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tiff"} <= IMAGE_SUFFIXES
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in IMAGE_SUFFIXES)
