"""Images as the server opens them, and three that are generated for check.json."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

from .errors import SaveError, first_line

#: of the image that the first step gets
Mode = Literal["RGB", "L"]

#: formats that the server shows as a sample; others are saved as PNG
SAMPLE_FORMATS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}
#: that PNG has
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
#: name, width, height and mode; sizes are odd, so that margins and scales do not come out even
GENERATED = (("landscape", 323, 241, "RGB"), ("portrait", 97, 150, "L"), ("square", 65, 65, "RGBA"))
#: for a model that takes images of one ratio only
SQUARES = (("large square", 255, 255, "RGB"), ("small square", 21, 21, "L"), ("square", 65, 65, "RGBA"))


def open_sample(sample: Any) -> tuple[Any, bytes, str]:
    """A PIL image, and the bytes and the name of its file in the folder.

    Args:
        sample: path of an image, or a PIL image
    """
    from PIL import Image

    if isinstance(sample, Image.Image):
        return as_png(sample)
    if not isinstance(sample, (str, Path)):
        raise SaveError(f"sample is of type {type(sample).__name__}: pass the path of an image, or a PIL image")
    try:
        data = Path(sample).read_bytes()
        image = Image.open(io.BytesIO(data))
        image.load()
    except OSError as error:
        raise SaveError(
            f"sample {str(sample)!r} cannot be opened ({first_line(error)}): pass the path of an image"
        ) from error
    extension = SAMPLE_FORMATS.get(image.format or "")
    return (image, data, f"sample.{extension}") if extension else as_png(image)


def as_png(image: Any) -> tuple[Any, bytes, str]:
    """The image as a PNG file, which gets neither Pillow's EXIF data nor every mode."""
    from PIL import Image, ImageOps

    turned = ImageOps.exif_transpose(image)
    data = png_bytes(turned if turned.mode in PNG_MODES else turned.convert("RGB"))
    return Image.open(io.BytesIO(data)), data, "sample.png"


def as_served(image: Any, mode: Mode) -> Any:
    """An image as the server hands it to the first step: turned as EXIF says, without alpha, in colour or grey.

    It is what transformers' `load_image` makes of a file, and then Pillow's `convert("L")`.
    """
    from PIL import ImageOps

    colour = ImageOps.exif_transpose(image).convert("RGB")
    return colour if mode == "RGB" else colour.convert("L")


def generate(width: int, height: int, mode: str) -> Any:
    """Gradients, edges and a pattern, so that every filter and every margin shows, in a file of a few kilobytes."""
    import numpy
    from PIL import Image

    y, x = numpy.mgrid[0:height, 0:width]
    red = 255 * x // (width - 1) ^ 64 * ((x // 7 + y // 5) % 2)
    green = 255 * y // (height - 1)
    blue = 16 * ((x // 8 ^ y // 8) % 16)
    colour = numpy.stack([red, green, blue], axis=2).astype(numpy.uint8)
    if mode == "L":
        return Image.fromarray(colour[:, :, 0])
    image = Image.fromarray(colour)
    if mode == "RGBA":
        image.putalpha(Image.fromarray((255 - green).astype(numpy.uint8)))
    return image


def png_bytes(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
