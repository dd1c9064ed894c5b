"""The steps that the server has an exact counterpart for, each in its keys of preprocessor_config.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy

from .errors import SaveError

Keys = dict[str, Any]

#: Pillow's numbers of the filters, which `resample` has
FILTERS = {"nearest": 0, "nearest-exact": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
#: float32(1 / 255): ToDtype multiplies by it in float32, where ToTensor divides by 255; 126 of 256 levels differ
FLOAT32_FACTOR = 0.003921568859368563


@dataclass
class Walk:
    """The image on its way through the transform, and the keys so far."""

    #: a PIL image, a tensor of the levels 0 to 255, or a tensor of float32 values
    form: Literal["image", "levels", "values"] = "image"
    keys: Keys = field(
        default_factory=lambda: {
            "do_resize": False,
            "do_center_crop": False,
            "do_rescale": False,
            "do_normalize": False,
        }
    )
    is_grey: bool = False
    #: of timm's ResizeKeepRatio, which only `pretrained_cfg` can express
    keep_ratio: Any = None
    padding: list[int] | None = None


def grayscale(walk: Walk, step: Any) -> None:
    if walk.form != "image":
        raise SaveError(
            "Grayscale of a tensor has different values from Grayscale of an image: put Grayscale before the tensor is made"
        )
    if step.num_output_channels != 1:
        raise SaveError(
            "Grayscale(num_output_channels=3) has no counterpart on the server: use Grayscale(), and repeat the channel "
            "in the model's forward: x.expand(-1, 3, -1, -1)"
        )
    if walk.keys["do_resize"] and not walk.is_grey:
        walk.keys["grayscale"] = "after_resize"
    walk.is_grey = True


def resize(walk: Walk, step: Any) -> None:
    start_resize(walk, "Resize")
    interpolation = interpolation_name(step)
    if walk.form == "levels":
        check_tensor_resize(step, interpolation)
        walk.keys["backend"] = "torchvision"
    if getattr(step, "max_size", None) is not None:
        raise SaveError(
            "Resize with max_size rounds differently from the server: leave out max_size, or use (height, width) as the size"
        )
    size = as_list(step.size)
    if not size:
        raise SaveError("Resize has no size: set it, for example Resize((224, 224))")
    square = {"shortest_edge": size[0]}
    walk.keys |= {
        "do_resize": True,
        "size": square if len(size) == 1 else {"height": size[0], "width": size[1]},
        "resample": FILTERS[interpolation],
    }


def start_resize(walk: Walk, name: str) -> None:
    if walk.form == "values":
        raise SaveError(
            f"{name} of float values has no counterpart on the server: put {name} before ToTensor() or ToDtype()"
        )
    if walk.keys["do_resize"]:
        raise SaveError(f"two resizes one after the other have no counterpart on the server: leave one {name} out")
    if walk.keys["do_center_crop"]:
        raise SaveError(f"the server resizes before it crops: put {name} before CenterCrop")


def check_tensor_resize(step: Any, interpolation: str) -> None:
    """torchvision resizes a uint8 tensor without rounding twice only in v2, and as the server does only with antialias."""
    if ".v2." not in type(step).__module__:
        raise SaveError(
            "Resize of a tensor has exact values only in torchvision.transforms.v2: use v2.Resize, or put Resize first"
        )
    if interpolation == "nearest":
        raise SaveError("Resize of a tensor with NEAREST has no counterpart on the server: use NEAREST_EXACT")
    if interpolation != "nearest-exact" and not step.antialias:
        raise SaveError(
            "Resize of a tensor with antialias=False has no counterpart on the server: use antialias=True, "
            "or put Resize first, where an image is resized with it"
        )


def center_crop(walk: Walk, step: Any) -> None:
    if walk.keys["do_center_crop"]:
        raise SaveError("two crops one after the other have no counterpart on the server: leave one CenterCrop out")
    if walk.keys["do_normalize"]:
        raise SaveError(
            "CenterCrop after Normalize pads with different values from the server: put CenterCrop before Normalize"
        )
    size = as_list(step.size)
    walk.padding = as_list(getattr(step, "fill", 0))
    if any(walk.padding) and walk.keep_ratio is None:
        raise SaveError(
            "CenterCropOrPad with a fill has no counterpart after Resize: use CenterCrop, which pads with 0"
        )
    walk.keys |= {
        "do_center_crop": True,
        "crop_size": {"height": size[0], "width": size[-1]},
        "crop_rounding": "torchvision",
    }


def to_tensor(walk: Walk, _: Any) -> None:
    if walk.form != "image":
        raise SaveError("ToTensor takes an image, but here it gets a tensor: leave it out")
    to_values(walk, 1 / 255)


def to_levels(walk: Walk, _: Any) -> None:
    if walk.form == "image":
        walk.form = "levels"


def convert_dtype(walk: Walk, step: Any) -> None:
    """v1's ConvertImageDtype divides by 255; that of v2 is ToDtype(scale=True)."""
    is_v2 = ".v2." in type(step).__module__
    if walk.keys.get("backend") == "torchvision" and not is_v2:
        raise SaveError(
            "ConvertImageDtype of v1 after v2's Resize has no counterpart on the server: use that of v2, or ToDtype"
        )
    change_dtype(walk, step, scale=True, factor=FLOAT32_FACTOR if is_v2 else 1 / 255)


def to_dtype(walk: Walk, step: Any) -> None:
    change_dtype(walk, step, scale=step.scale, factor=FLOAT32_FACTOR)


def change_dtype(walk: Walk, step: Any, scale: bool, factor: float) -> None:
    name, dtype = type(step).__name__, str(step.dtype).removeprefix("torch.")
    if walk.form == "image":
        raise SaveError(f"{name} does nothing to an image: put ToImage() before it")
    if walk.form == "levels" and dtype == "uint8":
        return
    if dtype != "float32":
        raise SaveError(
            f"{name}({dtype}) has no counterpart on the server, whose tensors are float32: use torch.float32"
        )
    if walk.form == "levels":
        to_values(walk, factor if scale else None)


def to_values(walk: Walk, factor: float | None) -> None:
    walk.form = "values"
    if walk.keys.get("backend") == "torchvision":
        walk.keys["fuse_normalize"] = False
    if factor is not None:
        walk.keys |= {"do_rescale": True, "rescale_factor": factor}


def normalize(walk: Walk, step: Any) -> None:
    if walk.form != "values":
        raise SaveError("Normalize takes float values: put ToTensor() before it")
    if walk.keys["do_normalize"]:
        raise SaveError("two Normalize steps have no counterpart on the server: merge their means and stds into one")
    walk.keys |= {"do_normalize": True, "image_mean": per_channel(step.mean), "image_std": per_channel(step.std)}


def interpolation_name(step: Any) -> str:
    """An InterpolationMode's value."""
    name = str(getattr(step.interpolation, "value", step.interpolation))
    if name in FILTERS:
        return name
    raise SaveError(
        f"Resize with interpolation {name} has no counterpart on the server: use one of {', '.join(FILTERS)}"
    )


def as_list(size: Any) -> list[int]:
    if size is None:
        return []
    return [int(side) for side in size] if isinstance(size, (list, tuple)) else [int(size)]


def per_channel(numbers: Any) -> float | list[float]:
    """Means or stds; one number counts for all channels."""
    values = [numbers] if isinstance(numbers, (int, float)) else [shortest(number) for number in numbers]
    return float(values[0]) if len(values) == 1 else values


def shortest(number: Any) -> float:
    """A number of a float32 tensor as it was written, 0.485 and not 0.48500001430511475: float32 of both is the same."""
    if isinstance(number, (int, float)):
        return float(number)
    value = float(number)
    return next(short for digits in range(1, 18) if float32(short := float(f"{value:.{digits}g}")) == float32(value))


def float32(value: float) -> float:
    return float(numpy.float32(value))
