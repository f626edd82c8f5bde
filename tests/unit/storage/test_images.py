"""Images from outside: what is converted, and what is refused with which words."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storage.errors import ImageError
from storage.images import ImageFolder, ImageLimits, decode_image, encode_image


def picture() -> np.ndarray:
    """(6, 9, 3) bytes, all different in red."""
    image = np.zeros((6, 9, 3), np.uint8)
    image[..., 0] = np.arange(54).reshape(6, 9) * 4
    image[..., 2] = 200
    return image


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def test_png_is_exact_and_jpeg_close() -> None:
    np.testing.assert_array_equal(decode_image(encode_image(picture()), "a.png"), picture())
    smooth = np.full((16, 16, 3), 90, np.uint8)
    assert np.abs(decode_image(encode_image(smooth, "jpeg"), "a.jpg").astype(int) - 90).max() <= 3


def test_grey_becomes_three_channels() -> None:
    grey = decode_image(saved(Image.fromarray(picture()[..., 0])), "grey.png")
    np.testing.assert_array_equal(grey, np.repeat(picture()[..., :1], 3, axis=2))


def test_sixteen_bits_are_scaled() -> None:
    deep = np.asarray([[0, 257, 32768, 65535]], np.uint16)
    found = decode_image(saved(Image.fromarray(deep)), "deep.png")
    np.testing.assert_array_equal(found[0, :, 0], [0, 1, 128, 255])
    assert found.shape == (1, 4, 3)


def test_transparency_becomes_grey() -> None:
    clear = np.zeros((2, 2, 4), np.uint8)
    clear[0] = (10, 20, 30, 255)
    found = decode_image(saved(Image.fromarray(clear)), "clear.png")
    np.testing.assert_array_equal(found[0], [[10, 20, 30]] * 2)
    np.testing.assert_array_equal(found[1], [[128, 128, 128]] * 2)


def test_palettes_and_cmyk_are_converted() -> None:
    palette = Image.fromarray(picture()).quantize(64)
    np.testing.assert_array_equal(decode_image(saved(palette), "p.png"), np.asarray(palette.convert("RGB")))
    ink = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    found = decode_image(saved(ink, "JPEG"), "ink.jpg")
    assert found[4, 4, 0] > 200 > 60 > found[4, 4, 1]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_truncated_file_is_told_with_its_name(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), kind)
    with pytest.raises(ImageError, match=r"cut\.img: .*(cut off or damaged|wanted a JPEG)"):
        decode_image(data[: int(len(data) * share)], "cut.img")


def test_other_files_are_refused() -> None:
    for data in (b"", b"<html>not found</html>", saved(Image.fromarray(picture()), "GIF")):
        with pytest.raises(
            ImageError, match=r"x\.jpg: wanted a JPEG, PNG, WEBP, BMP image, got [\d,]+ bytes"
        ):
            decode_image(data, "x.jpg")


def test_a_bomb_is_refused_by_its_header() -> None:
    bomb = saved(Image.new("1", (12_000, 12_000)))
    assert len(bomb) < 100_000
    with pytest.raises(
        ImageError, match=r"bomb\.png: 12,000 x 12,000 pixels when unpacked, wanted at most 64,000,000"
    ):
        decode_image(bomb, "bomb.png")
    huge = saved(Image.new("1", (20_000, 20_000)))
    with pytest.raises(ImageError, match=r"huge\.png: .*(decompression bomb|when unpacked)"):
        decode_image(huge, "huge.png")


def test_a_turned_image_is_refused() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(Image.fromarray(picture()), "JPEG", exif=exif)
    with pytest.raises(ImageError, match="EXIF orientation 6, wanted an upright image"):
        decode_image(data, "phone.jpg")


def test_a_folder_gives_its_images_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(encode_image(picture()))
    (tmp_path / "secret.png").write_bytes(encode_image(picture()))
    folder = ImageFolder(tmp_path / "images")
    np.testing.assert_array_equal(folder.read("a.png"), picture())
    for path in ("../secret.png", str(tmp_path / "secret.png"), "s3://bucket/a.png", "b.png", "a*.png"):
        with pytest.raises(ImageError, match="no such image that can be read"):
            folder.read(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_image(picture()))
    with pytest.raises(ImageError, match=r"a\.png: \d+ bytes, wanted at most 10"):
        ImageFolder(tmp_path, ImageLimits(max_file_bytes=10)).read("a.png")
