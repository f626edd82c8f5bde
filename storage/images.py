"""Images from a folder or a store, read without trust: every file may be cut off, huge when unpacked, or no image.

What comes out is always RGB bytes. Grey images are repeated in three channels, 16-bit grey is scaled to 8 bits,
transparent parts become mid grey, palettes and CMYK are converted. An EXIF orientation other than upright is refused:
whether keypoints were marked before or after turning is not in the file.
"""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field

from storage.errors import ImageError, StoreError, StoreFullError, StoreUnavailableError
from storage.object_store import open_store
from storage.paths import checked_path

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
"""What is tried; Pillow's many other decoders are never started."""
_ORIENTATION, _UPRIGHT = 0x0112, 1
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_PLAIN = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr")
_WITH_ALPHA = ("LA", "RGBA", "PA", "La", "RGBa")
_BEHIND = (128, 128, 128)
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error,
           zlib.error, MemoryError, ZeroDivisionError, AttributeError)  # fmt: skip
"""What Pillow's decoders are seen to raise on damaged files."""


class ImageLimits(BaseModel):
    """How large an image may be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_file_bytes: int = Field(default=64 << 20, ge=1)
    max_pixels: int = Field(default=64_000_000, ge=1)
    """Width times height, by the file's header, before anything is unpacked."""


class ImageFolder:
    """Images below one folder or URL.

    Args:
        url: The folder, as `open_store` takes it.
        limits: Of every image.
    """

    def __init__(self, url: str | Path, limits: ImageLimits | None = None) -> None:
        self._store, self._limits = open_store(url), limits or ImageLimits()

    def where(self, path: str) -> str:
        """The image's name for messages."""
        return f"{self._store.url}/{path}"

    def read(self, path: str) -> UInt8[np.ndarray, "H W 3"]:
        """One image as RGB bytes.

        Args:
            path: Relative to the folder, with forward slashes, never out of it.

        Raises:
            ImageError: if there is none, or it cannot be read; says which and what to do.
            StoreUnavailableError, StoreFullError: if the store fails for all files alike.
        """
        where = self.where(path)
        try:
            size_bytes = self._store.size_bytes(checked_path(path))
            if size_bytes > self._limits.max_file_bytes:
                raise ImageError(
                    f"{where}: {size_bytes:,} bytes, wanted at most {self._limits.max_file_bytes:,} "
                    "(max_file_bytes); save it smaller, or raise the limit if you trust it"
                )
            data = self._store.read_bytes(path)
        except (StoreUnavailableError, StoreFullError):
            raise
        except StoreError as error:
            raise ImageError(
                f"{where}: there is no such image that can be read ({error}); look at the column 'image' and at the "
                "folder that it is relative to"
            ) from error
        return decode_image(data, where, self._limits)


def decode_image(data: bytes, where: str, limits: ImageLimits | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """An image file as RGB bytes.

    Args:
        data: The whole file: JPEG, PNG, WebP or BMP.
        where: Its name, for messages.
        limits: What is read.

    Raises:
        ImageError: if it is no such image, cut off, too large, turned by EXIF, or has more than 8 bits in colour or
            floating-point values.
    """
    limits = limits or ImageLimits()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limit on pixels warns first; ours refuses
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_header(image, where, limits)
                image.load()
                return np.array(_as_rgb(image, where), dtype=np.uint8)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{where}: wanted a {', '.join(FORMATS)} image, got {len(data):,} bytes that begin with {data[:8]!r}; "
            "convert it, or look whether the download failed"
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{where}: {error}; wanted at most {limits.max_pixels:,} pixels; save it smaller"
        ) from error
    except _DAMAGE as error:
        raise ImageError(
            f"{where}: cannot be decoded ({type(error).__name__}: {error!s:.120}); it is cut off or damaged, fetch it "
            "again"
        ) from error


def encode_image(image: UInt8[np.ndarray, "H W 3"], kind: str = "png", quality: int = 90) -> bytes:
    """RGB bytes as a file: `png` (exact) or `jpeg`."""
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, kind.upper(), **({"quality": quality} if kind == "jpeg" else {}))
    return sink.getvalue()


def _check_header(image: Image.Image, where: str, limits: ImageLimits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageError(
            f"{where}: {width:,} x {height:,} pixels when unpacked, wanted at most {limits.max_pixels:,} (max_pixels); "
            "save it smaller, or raise the limit if you trust it"
        )
    orientation = image.getexif().get(_ORIENTATION, _UPRIGHT)
    if orientation != _UPRIGHT:
        raise ImageError(
            f"{where}: EXIF orientation {orientation!r}, wanted an upright image ({_UPRIGHT}); turn the pixels and "
            "remove the tag, and see that the keypoints are those of the turned image"
        )


def _as_rgb(image: Image.Image, where: str) -> Image.Image:
    if image.mode in _SIXTEEN_BIT:
        grey = np.asarray(image).astype(np.float32) * np.float32(255.0 / 65535.0)
        return Image.fromarray(np.rint(grey).astype(np.uint8)).convert("RGB")
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        shown = image.convert("RGBA")
        behind = Image.new("RGBA", shown.size, (*_BEHIND, 255))
        return Image.alpha_composite(behind, shown).convert("RGB")
    if image.mode not in _PLAIN:
        raise ImageError(
            f"{where}: pixels of mode {image.mode!r}, wanted 8 bits a channel (or 16-bit grey): "
            f"{', '.join((*_PLAIN, *_WITH_ALPHA))}; convert it"
        )
    return image if image.mode == "RGB" else image.convert("RGB")
