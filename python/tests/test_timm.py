"""timm: ten families with their own transforms, and the crop modes of create_transform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from serving import assert_same_tensors
from test_torchvision import serve

timm = pytest.importorskip("timm")

FAMILIES = (
    "resnet10t", "mobilenetv3_small_050", "efficientnet_lite0", "vit_tiny_patch16_224", "deit_tiny_patch16_224",
    "convnext_atto", "regnetx_002", "mixer_s32_224", "efficientvit_b0", "ghostnet_050",
)  # fmt: skip


def transform_of(config: dict[str, Any]) -> Any:
    return timm.data.create_transform(**config, is_training=False)


@pytest.mark.parametrize("name", FAMILIES)
def test_family(name: str, tmp_path: Path) -> None:
    model = timm.create_model(name, pretrained=False, num_classes=4)
    serve(tmp_path, model, transform_of(timm.data.resolve_model_data_config(model)))


MODES = {
    "squash": {"input_size": (3, 64, 64), "crop_mode": "squash", "crop_pct": 0.9, "interpolation": "bilinear"},
    "border": {"input_size": (3, 64, 64), "crop_mode": "border", "crop_pct": 0.95, "interpolation": "bicubic"},
    "border, 1.0": {"input_size": (3, 60, 84), "crop_mode": "border", "crop_pct": 1.0, "interpolation": "bilinear"},
    "not square": {"input_size": (3, 48, 80), "crop_pct": 0.875, "interpolation": "lanczos"},
    "larger crop": {"input_size": (3, 64, 64), "crop_pct": 1.2, "interpolation": "bicubic"},
    "own mean": {"input_size": (3, 40, 40), "mean": (0.1, 0.2, 0.3), "std": (0.7, 0.8, 0.9)},
}


@pytest.mark.parametrize("name", MODES)
def test_mode(name: str) -> None:
    assert_same_tensors(transform_of(MODES[name]))
