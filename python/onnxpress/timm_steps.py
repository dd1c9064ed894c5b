"""timm's ResizeKeepRatio, which only timm's own configuration can express."""

from __future__ import annotations

import math
from typing import Any

from .errors import SaveError
from .steps import Keys, Walk, interpolation_name, start_resize


def resize_keep_ratio(walk: Walk, step: Any) -> None:
    start_resize(walk, "ResizeKeepRatio")
    if walk.form != "image" or walk.is_grey or step.longest not in (0, 1):
        raise SaveError(
            "ResizeKeepRatio has a counterpart only as timm's create_transform uses it: pass that transform"
        )
    walk.keep_ratio = step
    walk.keys["do_resize"] = True


def timm_keys(walk: Walk) -> Keys:
    """timm's own configuration, the only one that can keep the ratio of a size that is not square."""
    step, keys = walk.keep_ratio, walk.keys
    is_border = step.longest == 1
    mean = keys.get("image_mean")
    fill = [round(255 * value) for value in mean] if is_border and isinstance(mean, list) else [0]
    has_all = isinstance(mean, list) and keys["do_center_crop"] and keys.get("rescale_factor") == 1 / 255
    if not has_all or walk.padding != fill:
        raise SaveError(
            "ResizeKeepRatio has a counterpart only as timm's create_transform uses it: pass that transform"
        )
    size = (keys["crop_size"]["height"], keys["crop_size"]["width"])
    return {
        "pretrained_cfg": {
            "input_size": [len(keys["image_mean"]), *size],
            "crop_pct": crop_pct(size, step.size),
            "crop_mode": "border" if is_border else "center",
            "interpolation": interpolation_name(step),
            "mean": keys["image_mean"],
            "std": keys["image_std"],
        }
    }


def crop_pct(size: tuple[int, int], resized: tuple[int, int]) -> float:
    """The number by which timm divides both sides of `size`, rounding down, to get `resized`."""
    largest = min(side / target for side, target in zip(size, resized, strict=True))
    for candidate in (largest, math.nextafter(largest, 0)):
        if [math.floor(side / candidate) for side in size] == list(resized):
            return candidate
    raise SaveError(
        f"ResizeKeepRatio{tuple(resized)} and a crop of {size} have no common crop_pct: pass timm's create_transform"
    )
