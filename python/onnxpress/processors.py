"""transformers' image processors as keys of preprocessor_config.json."""

from __future__ import annotations

from typing import Any

from .errors import SaveError

#: the classes whose arithmetic the server has (preprocess/config/processors.json), without "ImageProcessor"
KNOWN_CLASSES = (
    "Beit", "Bit", "Blip", "CLIP", "ChineseCLIP", "ConvNext", "DeiT", "EfficientNet", "Levit", "MobileNetV1", "MobileNetV2",
    "MobileViT", "PPLCNet", "Perceiver", "PoolFormer", "Pvt", "RTDetr", "Segformer", "Siglip", "TextNet", "ViT",
)  # fmt: skip
KEYS = (
    "do_convert_rgb", "do_resize", "size", "default_to_square", "size_divisor", "resize_short", "resample", "do_center_crop",
    "crop_size", "crop_pct", "do_rescale", "rescale_factor", "rescale_offset", "do_normalize", "image_mean", "image_std",
    "do_flip_channel_order", "include_top",
)  # fmt: skip
#: without an effect on the tensor
NEUTRAL_SWITCHES = ("do_reduce_labels", "do_convert_annotations")


def is_processor(transform: Any) -> bool:
    return hasattr(transform, "to_dict") and hasattr(transform, "preprocess")


def processor_keys(processor: Any) -> dict[str, Any]:
    """The keys of a processor, and which of its two backends made the tensors of training.

    Raises:
        SaveError: the server does not know the class, or a switch is on that it does not have
    """
    config = processor.to_dict()
    kind = str(config.get("image_processor_type", type(processor).__name__))
    if kind.removesuffix("Fast").removesuffix("ImageProcessor") not in KNOWN_CLASSES:
        known = ", ".join(KNOWN_CLASSES)
        raise SaveError(f"{kind} is not an image processor that the server knows: expected one of {known}")
    for key, value in config.items():
        if key.startswith("do_") and value and key not in KEYS + NEUTRAL_SWITCHES:
            raise SaveError(f"{kind} has {key} on, which the server does not have: turn it off")
    backend = getattr(processor, "backend", "pil")  # transformers 4 has only Pillow's, but for its "Fast" classes
    if kind.endswith("Fast"):
        backend = "torchvision"
    # None turns a step off, where an absent key would have the default of the class
    keys = {key: plain(config[key]) for key in KEYS if key in config}
    return {"image_processor_type": kind, **keys, "backend": backend}


def plain(value: Any) -> Any:
    """A value that json can write; `resample` is an enumeration, `size` may be a class of its own."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return {key: plain(item) for key, item in dict(value).items() if item is not None}
