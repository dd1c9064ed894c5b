"""transformers: families of models with tiny random weights, and the image processors of both backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import assert_same_tensors, assert_served

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import onnxpress  # noqa: E402

LABELS = {0: "cat", 1: "dog", 2: "fox"}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
FAMILIES = {
    "ViT": ({**SMALL, "image_size": 48, "patch_size": 16}, "ViT", {"size": {"height": 48, "width": 48}}),
    "DeiT": (
        {**SMALL, "image_size": 48, "patch_size": 16},
        "DeiT",
        {"size": {"height": 56, "width": 56}, "crop_size": {"height": 48, "width": 48}},
    ),
    "Beit": ({**SMALL, "image_size": 48, "patch_size": 16}, "Beit", {"size": {"height": 48, "width": 48}}),
    "ConvNext": ({"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}, "ConvNext", {"size": {"shortest_edge": 64}}),
    "ResNet": ({"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}, "ConvNext", {"size": {"shortest_edge": 48}}),
    "Swin": (
        {"image_size": 64, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
        "ViT",
        {"size": {"height": 64, "width": 64}},
    ),
    "Siglip": ({"vision_config": {**SMALL, "image_size": 48, "patch_size": 16}}, "Siglip", {"size": {"height": 48, "width": 48}}),
    "MobileNetV2": (
        {"depth_multiplier": 0.35, "image_size": 64},
        "MobileNetV2",
        {"size": {"shortest_edge": 73}, "crop_size": {"height": 64, "width": 64}},
    ),
    "MobileViT": (
        {"hidden_sizes": [48, 64, 80], "neck_hidden_sizes": [8, 8, 16, 32, 48, 64, 80]},
        "MobileViT",
        {"size": {"shortest_edge": 144}, "crop_size": {"height": 128, "width": 128}},
    ),
    "Levit": (
        {"image_size": 224, "hidden_sizes": [16, 32, 48], "num_attention_heads": [1, 2, 3], "depths": [1, 1, 1], "key_dim": [8, 8, 8]},
        "Levit",
        {},
    ),
    "EfficientNet": (
        {"width_coefficient": 0.25, "depth_coefficient": 0.1, "image_size": 64, "hidden_dim": 320},
        "EfficientNet",
        {"size": {"height": 64, "width": 64}},
    ),
    "Dinov2": (
        {**SMALL, "image_size": 56, "patch_size": 14},
        "Bit",
        {"size": {"shortest_edge": 64}, "crop_size": {"height": 56, "width": 56}},
    ),
    "HGNetV2": (
        {
            **{"stem_channels": [3, 8, 8], "stage_in_channels": [8, 16, 24, 32], "stage_mid_channels": [8, 8, 8, 8]},
            **{"stage_out_channels": [16, 24, 32, 48], "hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1]},
            **{"stage_num_blocks": [1, 1, 1, 1], "stage_numb_of_layers": [1, 1, 1, 1]},
        },
        "RTDetr",
        {"size": {"height": 64, "width": 64}, "do_normalize": True},
    ),
}  # fmt: skip


def create(family: str, backend: str) -> tuple[Any, Any]:
    config, processor, options = FAMILIES[family]
    torch.manual_seed(0)
    settings = {**config, "id2label": LABELS, "label2id": {name: number for number, name in LABELS.items()}}
    model = getattr(transformers, f"{family}ForImageClassification")(
        getattr(transformers, f"{family}Config")(**settings)
    )
    return model, getattr(transformers, f"{processor}ImageProcessor{backend}")(**options)


@pytest.mark.parametrize("backend", ["Pil", ""])
@pytest.mark.parametrize("family", FAMILIES)
def test_processor(family: str, backend: str) -> None:
    _, name, options = FAMILIES[family]
    processor = getattr(transformers, f"{name}ImageProcessor{backend}")(**options)
    assert_same_tensors(processor)


OFF = {
    "CLIP": {"do_center_crop": None, "size": {"height": 48, "width": 64}},
    "PoolFormer": {"crop_pct": None, "size": {"shortest_edge": 64}, "do_center_crop": None},
    "PPLCNet": {"resize_short": None, "size": {"height": 48, "width": 64}, "do_center_crop": None},
}


@pytest.mark.parametrize("name", OFF)
def test_none_turns_a_step_off(name: str) -> None:
    assert_same_tensors(getattr(transformers, f"{name}ImageProcessor")(**OFF[name]))


@pytest.mark.parametrize("family", FAMILIES)
def test_family(family: str, tmp_path: Path) -> None:
    model, processor = create(family, "Pil")
    model.eval()
    folder = onnxpress.save(model, tmp_path / "my_model", transform=processor)

    def scores(tensor: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(tensor)).logits.softmax(1).numpy()

    assert_served(folder, processor, scores)
