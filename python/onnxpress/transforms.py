"""A transform's steps as keys of preprocessor_config.json: each is translated exactly, or refused.

The server works in one order: grey, resize, crop or pad, rescale, normalize; grey may also follow the resize. A transform
that does the same in an order with the same result is translated, any other is refused. Steps are recognised by their
class's name, so that neither torchvision nor timm is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .errors import SaveError
from .processors import is_processor, processor_keys
from .steps import (
    Keys,
    Walk,
    center_crop,
    convert_dtype,
    grayscale,
    normalize,
    resize,
    to_dtype,
    to_levels,
    to_tensor,
)
from .timm_steps import resize_keep_ratio, timm_keys

#: whose classes are meant by the names of steps
LIBRARIES = ("torchvision", "timm", "torch")
TRAINING_STEPS = (
    "Random", "AutoAugment", "TrivialAugment", "AugMix", "ColorJitter", "ElasticTransform", "ScaleJitter", "CutMix",
    "MixUp", "GaussianBlur", "GaussianNoise",
)  # fmt: skip
TIMM_RANDOM = ("random_scale_prob", "random_aspect_prob")
#: steps that change nothing about one RGB image
NEUTRAL_STEPS = ("Identity", "ToPureTensor", "RGB")


@dataclass(frozen=True)
class Preprocessing:
    """What the server does to an image before the model sees it."""

    #: of preprocessor_config.json
    keys: Keys
    #: the transform converts to grey itself
    is_grey: bool = False


def translate(transform: Any) -> Preprocessing:
    """The keys that make the server do what `transform` does to a PIL image.

    Raises:
        SaveError: a step has no exact counterpart; the message names it, and what to use instead
    """
    if is_processor(transform):
        inner = getattr(transform, "val_transforms", None)  # TimmWrapperImageProcessor
        if inner is not None:
            return translate(inner)
        return Preprocessing(with_pillow_version(processor_keys(transform)))
    if type(transform).__name__ == "partial" or hasattr(transform, "meta"):
        raise SaveError("the transform of torchvision's weights was not called: pass weights.transforms()")
    walk = Walk()
    for step in flatten(transform):
        translate_step(walk, step)
    if walk.form == "image":
        raise SaveError("the transform ends in an image, not in a tensor: add ToTensor() at the end")
    keys = timm_keys(walk) if walk.keep_ratio else walk.keys
    return Preprocessing(with_pillow_version(keys), walk.is_grey)


def with_pillow_version(keys: Keys) -> Keys:
    """Pillow 13 resizes in another order of axes than earlier versions, so the server has to know."""
    import PIL

    version = int(PIL.__version__.partition(".")[0])
    if version < 13 or keys.get("backend") == "torchvision" or not keys.get("do_resize", True):
        return keys
    if "pretrained_cfg" in keys:
        return {"pretrained_cfg": keys["pretrained_cfg"] | {"pillow_version": version}}
    return keys | {"pillow_version": version}


def flatten(transform: Any) -> Iterator[Any]:
    """The steps of a transform, with those of a Compose inside a Compose, and of `weights.transforms()`."""
    name = type(transform).__name__
    if name == "Compose":
        for step in transform.transforms:
            yield from flatten(step)
    elif name == "Sequential":
        for step in transform:
            yield from flatten(step)
    elif name == "ImageClassification":
        yield Step("Resize", size=transform.resize_size, interpolation=transform.interpolation)
        yield Step("CenterCrop", size=transform.crop_size)
        yield Step("ToTensor")
        yield Step("Normalize", mean=transform.mean, std=transform.std)
    else:
        yield transform


class Step:
    """A step of torchvision's presets, which are one object."""

    def __init__(self, name: str, **attributes: Any) -> None:
        self.name = name
        self.__dict__.update(attributes)


def translate_step(walk: Walk, step: Any) -> None:
    name = step.name if isinstance(step, Step) else type(step).__name__
    if name in NEUTRAL_STEPS and not (name == "RGB" and walk.is_grey):
        return
    if name.startswith(TRAINING_STEPS) or any(getattr(step, key, False) for key in TIMM_RANDOM):
        raise SaveError(f"{name} is a random training step: pass your evaluation transform instead")
    if name in ("Lambda", "function", "method"):
        raise SaveError(
            "a Lambda or function cannot be translated: use Grayscale() for grey, and leave out a conversion to RGB, "
            "which the server does itself"
        )
    library = "torchvision" if isinstance(step, Step) else type(step).__module__.partition(".")[0]
    if library not in LIBRARIES:
        raise SaveError(f"{name} of {library} is not known here: use the steps of torchvision.transforms")
    if name not in STEPS:
        known = "Resize, CenterCrop, Grayscale, ToTensor, ToImage, ToDtype and Normalize"
        raise SaveError(f"{name} has no counterpart on the server, which has {known}: do it inside the model")
    STEPS[name](walk, step)


STEPS: dict[str, Callable[[Walk, Any], None]] = {
    "Grayscale": grayscale,
    "Resize": resize,
    "ResizeKeepRatio": resize_keep_ratio,
    "CenterCrop": center_crop,
    "CenterCropOrPad": center_crop,
    "ToTensor": to_tensor,
    "MaybeToTensor": to_tensor,
    "ToImage": to_levels,
    "PILToTensor": to_levels,
    "MaybePILToTensor": to_levels,
    "ConvertImageDtype": convert_dtype,
    "ToDtype": to_dtype,
    "Normalize": normalize,
}
