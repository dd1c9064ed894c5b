"""Steps that the server has no exact counterpart for are refused, in one sentence that names the step and the fix.

Needs no torchvision: steps are recognised by their classes' names, so that classes made here will do.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from serving import ROOT

from onnxpress import SaveError
from onnxpress.processors import KNOWN_CLASSES
from onnxpress.transforms import translate


def step(name: str, module: str = "torchvision.transforms.transforms", **attributes: Any) -> Any:
    return type(name, (), {"__module__": module, **attributes})()


def v2(name: str, **attributes: Any) -> Any:
    return step(name, "torchvision.transforms.v2._geometry", **attributes)


def resize(size: Any = (28, 28), **attributes: Any) -> Any:
    return step(
        "Resize", **{"size": size, "interpolation": "bilinear", "max_size": None, "antialias": True, **attributes}
    )


def compose(*steps: Any) -> Any:
    return step("Compose", transforms=steps)


CROP = step("CenterCrop", size=(24, 20))
TO_TENSOR = step("ToTensor")
TO_IMAGE = v2("ToImage")
TO_FLOAT = v2("ToDtype", dtype="torch.float32", scale=True)
NORMALIZE = step("Normalize", mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
GREY = step("Grayscale", num_output_channels=1)


@pytest.fixture(autouse=True)
def pillow_12(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.__version__", "12.3.0")


def test_keys() -> None:
    assert translate(compose(resize([256]), CROP, TO_TENSOR, NORMALIZE)).keys == {
        "do_resize": True, "size": {"shortest_edge": 256}, "resample": 2,
        "do_center_crop": True, "crop_size": {"height": 24, "width": 20}, "crop_rounding": "torchvision",
        "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    }  # fmt: skip


def test_steps_that_change_nothing() -> None:
    steps = (
        v2("RGB"),
        step("Identity"),
        TO_IMAGE,
        v2("ToDtype", dtype="torch.uint8", scale=True),
        TO_FLOAT,
        v2("ToPureTensor"),
    )
    assert translate(compose(*steps)).keys == {
        "do_resize": False, "do_center_crop": False, "do_rescale": True, "rescale_factor": 0.003921568859368563,
        "do_normalize": False,
    }  # fmt: skip


def test_grey_before_and_after_the_resize() -> None:
    before, after = translate(compose(GREY, resize(), TO_TENSOR)), translate(compose(resize(), CROP, GREY, TO_TENSOR))
    assert before.is_grey and after.is_grey
    assert "grayscale" not in before.keys and after.keys["grayscale"] == "after_resize"


def test_resize_of_a_tensor() -> None:
    steps = (TO_IMAGE, v2("Resize", size=[32], interpolation="bicubic", max_size=None, antialias=True), TO_FLOAT)
    keys = translate(compose(*steps)).keys
    assert (keys["backend"], keys["fuse_normalize"], keys["resample"]) == ("torchvision", False, 3)


KEEP_RATIO = {"interpolation": "bicubic", "random_scale_prob": 0.0, "random_aspect_prob": 0.0}


def test_timm_border() -> None:
    steps = (
        step("ResizeKeepRatio", size=(63, 67), longest=1.0, **KEEP_RATIO),
        step("CenterCropOrPad", size=(60, 64), fill=[124, 116, 104]),
        step("MaybeToTensor"),
        NORMALIZE,
    )
    assert translate(compose(*steps)).keys["pretrained_cfg"] == {
        "input_size": [3, 60, 64], "crop_pct": 60 / 63, "crop_mode": "border", "interpolation": "bicubic",
        "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
    }  # fmt: skip


def test_pillow_13(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.__version__", "13.0.0")
    assert translate(compose(resize(), TO_TENSOR)).keys["pillow_version"] == 13
    assert "pillow_version" not in translate(compose(TO_TENSOR)).keys
    on_tensor = v2("Resize", size=[32], interpolation="bicubic", max_size=None, antialias=True)
    assert "pillow_version" not in translate(compose(TO_IMAGE, on_tensor, TO_FLOAT)).keys
    keeping = step("ResizeKeepRatio", size=(63, 67), longest=0.0, **KEEP_RATIO)
    keys = translate(compose(keeping, step("CenterCrop", size=(60, 64)), step("MaybeToTensor"), NORMALIZE)).keys
    assert keys["pretrained_cfg"]["pillow_version"] == 13


REFUSALS = {
    "random": ([step("RandomHorizontalFlip"), TO_TENSOR], "RandomHorizontalFlip is a random training step: pass your evaluation transform instead"),
    "augmentation": ([step("TrivialAugmentWide"), TO_TENSOR], "TrivialAugmentWide is a random training step"),
    "random resize of timm": ([step("ResizeKeepRatio", size=(9, 9), longest=0, random_scale_prob=0.5)], "ResizeKeepRatio is a random training step"),
    "unknown": ([step("Pad"), TO_TENSOR], "Pad has no counterpart on the server, which has Resize, CenterCrop, Grayscale, ToTensor, ToImage, ToDtype and Normalize: do it inside the model"),
    "function": ([lambda image: image, TO_TENSOR], "a Lambda or function cannot be translated: use Grayscale() for grey, and leave out a conversion to RGB, which the server does itself"),
    "another library": ([step("Resize", "albumentations.augmentations", height=28, width=28)], "Resize of albumentations is not known here: use the steps of torchvision.transforms"),
    "no tensor": ([resize()], "the transform ends in an image, not in a tensor: add ToTensor() at the end"),
    "resize of values": ([TO_TENSOR, resize()], "Resize of float values has no counterpart on the server: put Resize before ToTensor() or ToDtype()"),
    "two resizes": ([resize(), resize(), TO_TENSOR], "two resizes one after the other have no counterpart on the server: leave one Resize out"),
    "crop, then resize": ([CROP, resize(), TO_TENSOR], "the server resizes before it crops: put Resize before CenterCrop"),
    "max_size": ([resize([9], max_size=20), TO_TENSOR], "Resize with max_size rounds differently from the server: leave out max_size, or use (height, width) as the size"),
    "no antialias": ([TO_IMAGE, v2("Resize", size=[9], interpolation="bilinear", antialias=False)], "Resize of a tensor with antialias=False has no counterpart on the server: use antialias=True,"),
    "nearest": ([TO_IMAGE, v2("Resize", size=[9], interpolation="nearest", antialias=True)], "Resize of a tensor with NEAREST has no counterpart on the server: use NEAREST_EXACT"),
    "v1 resize of a tensor": ([step("PILToTensor"), resize()], "Resize of a tensor has exact values only in torchvision.transforms.v2: use v2.Resize, or put Resize first"),
    "v1 dtype of a v2 resize": ([TO_IMAGE, v2("Resize", size=[9], interpolation="bilinear", antialias=True), step("ConvertImageDtype", dtype="torch.float32")], "ConvertImageDtype of v1 after v2's Resize has no counterpart on the server: use that of v2, or ToDtype"),
    "two crops": ([CROP, CROP, TO_TENSOR], "two crops one after the other have no counterpart on the server: leave one CenterCrop out"),
    "late crop": ([TO_TENSOR, NORMALIZE, CROP], "CenterCrop after Normalize pads with different values from the server: put CenterCrop before Normalize"),
    "grey of a tensor": ([TO_TENSOR, GREY], "Grayscale of a tensor has different values from Grayscale of an image: put Grayscale before the tensor is made"),
    "three grey channels": ([step("Grayscale", num_output_channels=3), TO_TENSOR], "Grayscale(num_output_channels=3) has no counterpart on the server: use Grayscale(), and repeat the channel in the model's forward"),
    "normalize of an image": ([resize(), NORMALIZE], "Normalize takes float values: put ToTensor() before it"),
    "two normalizes": ([TO_TENSOR, NORMALIZE, NORMALIZE], "two Normalize steps have no counterpart on the server: merge their means and stds into one"),
    "half": ([TO_IMAGE, v2("ToDtype", dtype="torch.float16", scale=True)], "ToDtype(float16) has no counterpart on the server, whose tensors are float32: use torch.float32"),
    "dtype of an image": ([TO_FLOAT], "ToDtype does nothing to an image: put ToImage() before it"),
    "two tensors": ([TO_TENSOR, TO_TENSOR], "ToTensor takes an image, but here it gets a tensor: leave it out"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str) -> None:
    steps, message = REFUSALS[name]
    with pytest.raises(SaveError) as refusal:
        translate(compose(*steps))
    assert str(refusal.value).startswith(message)


def test_weights_instead_of_their_transforms() -> None:
    for transform in (functools.partial(compose, TO_TENSOR), step("Weights", meta={}, transforms=None)):
        with pytest.raises(
            SaveError, match="the transform of torchvision's weights was not called: pass weights.transforms"
        ):
            translate(transform)


def test_refused_processors() -> None:
    processor = step(
        "DonutImageProcessor", preprocess=None, to_dict=lambda self: {"image_processor_type": "DonutImageProcessor"}
    )
    with pytest.raises(
        SaveError, match="DonutImageProcessor is not an image processor that the server knows: expected one of Beit, "
    ):
        translate(processor)
    padding = step(
        "ViTImageProcessor",
        preprocess=None,
        to_dict=lambda self: {"image_processor_type": "ViTImageProcessor", "do_pad": True},
    )
    with pytest.raises(SaveError, match="ViTImageProcessor has do_pad on, which the server does not have: turn it off"):
        translate(padding)


def test_classes_are_those_of_the_server() -> None:
    served = json.loads((ROOT / "preprocess/config/processors.json").read_text())["defaults"]
    assert sorted(KNOWN_CLASSES) == sorted(served)
