"""check.json: what the user's own transform and model make of some images, for the server to be compared with."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy

from .errors import SaveError, first_line
from .export import Array, Model
from .images import GENERATED, SQUARES, Mode, as_served, generate, open_sample, png_bytes
from .processors import is_processor
from .transforms import Preprocessing

#: most values of a tensor that are kept, to say how far another one is off
MAX_VALUES = 4096
#: packages, and the modules that they install
NAMES = ("onnxpress", "torch", "torchvision", "timm", "transformers", "keras", "ultralytics", "onnx", "numpy")
#: packages, and the modules that they install
LIBRARIES = {**{name: name for name in NAMES}, "pillow": "PIL"}


#: name, PIL image, and its place in check.json
NamedImage = tuple[str, Any, dict[str, Any]]


class ModelError(SaveError):
    """The model fails on a tensor."""


class NotFiniteError(SaveError):
    """The model's output has a NaN or an infinity."""


@dataclass
class Case:
    """One input, and what became of it."""

    name: str
    #: of the case in check.json: {"image": ...} or {"input": ...}
    source: dict[str, Any]
    #: the model's input, [1, ...]
    tensor: Array
    #: the model's output, [1, classes]
    logits: Array


@dataclass
class Inputs:
    """The cases, and what they tell about the model's input."""

    cases: list[Case]
    #: axes of any size, and their names
    free_axes: dict[int, str] = field(default_factory=lambda: {0: "batch"})
    #: name and bytes of the sample's file
    sample: tuple[str, bytes] | None = None


def image_inputs(model: Model, transform: Any, preprocessing: Preprocessing, sample: Any) -> Inputs:
    """Run the transform and the model on the sample and on generated images.

    Raises:
        SaveError: one of them fails, or they do not fit together
    """
    samples, file = [], None
    if sample is not None:
        image, data, name = open_sample(sample)
        samples, file = [("sample", image, {"file": name})], (name, data)
    try:
        mode = choose_mode(model, transform, preprocessing, (samples or draw(SQUARES))[-1][1])
        cases = [*run_cases(model, transform, mode, samples), *generated_cases(model, transform, mode)]
    except ModelError as error:
        if len({apply(transform, as_served(image, "RGB")).shape for _, image, _ in draw(SQUARES)}) == 1:
            raise
        raise SaveError(
            "the model takes tensors of one size, but the transform makes them as large as the image: put "
            "Resize((height, width)) first, which leaves an image of that size as it is"
        ) from error
    is_free = len({case.tensor.shape for case in cases}) > 1
    return Inputs(cases, {0: "batch", **({2: "height", 3: "width"} if is_free else {})}, file)


def generated_cases(model: Model, transform: Any, mode: Mode) -> list[Case]:
    """Cases of images of several aspect ratios, or of squares if the transform keeps them and the model has one size."""
    try:
        return run_cases(model, transform, mode, draw(GENERATED))
    except ModelError:
        cases = run_cases(model, transform, mode, draw(SQUARES))
    warnings.warn(
        "the transform keeps an image's aspect ratio and the model takes one size, so images with another aspect ratio will "
        "be refused: Resize((height, width)) takes all",
        stacklevel=4,
    )
    return cases


def draw(kinds: tuple[tuple[str, int, int, str], ...]) -> list[NamedImage]:
    images = [(name, generate(width, height, mode)) for name, width, height, mode in kinds]
    return [(name, image, {"png": base64.b64encode(png_bytes(image)).decode()}) for name, image in images]


def choose_mode(model: Model, transform: Any, preprocessing: Preprocessing, image: Any) -> Mode:
    """Images are in colour, unless the transform leaves the channels alone and the model takes one."""
    tensor = apply(transform, as_served(image, "RGB"))
    if preprocessing.is_grey and tensor.shape[1] != 1:
        raise SaveError("the transform makes three channels of a grey image: pass one mean and one std to Normalize")
    try:
        run_model(model, tensor)
        return "RGB"
    except ModelError:
        if preprocessing.is_grey:
            raise
        try:
            run_model(model, apply(transform, as_served(image, "L")))
            return "L"
        except SaveError:
            pass
        raise


def run_cases(model: Model, transform: Any, mode: Mode, images: list[NamedImage]) -> list[Case]:
    cases = []
    for name, image, source in images:
        tensor = apply(transform, as_served(image, mode))
        cases.append(Case(name, {"image": source}, tensor, run_model(model, tensor)))
    return cases


def apply(transform: Any, image: Any) -> Array:
    """The user's own tensor of an image, [1, c, h, w]."""
    try:
        if is_processor(transform):
            tensor = numpy.asarray(transform(images=image, return_tensors="np")["pixel_values"])
        else:
            tensor = numpy.asarray(transform(image))[None]
    except Exception as error:  # whatever a step raises
        size = f"{image.mode} image of {image.width}x{image.height}"
        raise SaveError(
            f"the transform fails on an {size} ({first_line(error)}): pass one that accepts images of any size and mode"
        ) from error
    if tensor.ndim != 4 or tensor.dtype not in ("float32", "uint8"):
        raise SaveError(
            f"the transform returns {tensor.dtype} of shape {list(tensor.shape[1:])}, expected float32 of shape "
            "[channels, height, width]"
        )
    return tensor


def run_model(model: Model, tensor: Array) -> Array:
    try:
        logits = model.run(tensor)
    except SaveError:
        raise
    except Exception as error:  # whatever a layer raises
        raise ModelError(
            f"the model fails on a tensor of {list(tensor.shape)} ({first_line(error)}): pass the transform that it was "
            "trained with"
        ) from error
    if logits.ndim == 1 and logits.size == 1:
        logits = logits[None]
    if logits.ndim != 2 or len(logits) != 1:
        raise SaveError(
            f"the model returns shape {list(logits.shape)} for one input, expected [1, classes]: it is not a classifier"
        )
    if not numpy.isfinite(logits).all():
        raise NotFiniteError("the model's output has a NaN or an infinity: check the weights before you serve them")
    return logits


def array_inputs(model: Model, sample: Any) -> Inputs:
    """The same for a model without images.

    Args:
        sample: a number, a list of features, or an array [features] or [1, features]
    """
    if sample is None:
        raise SaveError(
            "there is no transform: pass one, or for a model without images sample=5.0, an example of its input"
        )
    try:
        example = numpy.atleast_2d(numpy.asarray(sample, numpy.float32))
    except (TypeError, ValueError):
        example = None
    if example is None or example.ndim > 2:
        raise SaveError("the sample is an image, but there is no transform: pass your evaluation transform")
    cases = [array_case("sample", model, example)]
    others = {"zeros": 0 * example, "ones": 0 * example + 1, "negative": -1.5 * example - 1}
    for name, tensor in others.items():
        # the model may take the logarithm of a feature
        with contextlib.suppress(ModelError, NotFiniteError):
            cases.append(array_case(name, model, tensor))
    return Inputs(cases)


def array_case(name: str, model: Model, tensor: Array) -> Case:
    source = {"input": tensor_json(tensor) | {"data": base64_of(tensor)}}
    return Case(name, source, tensor, run_model(model, tensor))


def check_json(cases: list[Case], apply_function: Callable[[Array], Array]) -> dict[str, Any]:
    """The content of check.json."""
    return {
        "format": 1,
        "created_by": versions(),
        "cases": [case_json(case, apply_function(case.logits[0])) for case in cases],
    }


def versions() -> dict[str, str]:
    """This package's version, and those of the libraries in use."""
    used = {name: sys.modules[module] for name, module in LIBRARIES.items() if module in sys.modules}
    return {name: str(module.__version__) for name, module in used.items()}


def case_json(case: Case, scores: Array) -> dict[str, Any]:
    json = {"name": case.name, **case.source}
    if "image" in case.source:
        json["tensor"] = tensor_json(case.tensor) | sampled(case.tensor)
    return json | {"scores": [float(score) for score in scores]}


def tensor_json(tensor: Array) -> dict[str, Any]:
    return {"dims": list(tensor.shape), "dtype": str(tensor.dtype)}


def sampled(tensor: Array) -> dict[str, Any]:
    """The hash, and at most MAX_VALUES values from all over the tensor."""
    stride = max(1, math.ceil(tensor.size / MAX_VALUES))
    while math.gcd(stride, tensor.shape[3]) > 1:  # else the values would be of some columns only
        stride += 1
    values = tensor.ravel()[::stride].astype("<f4")
    return {"sha256": hashlib.sha256(little_endian(tensor)).hexdigest(), "stride": stride, "values": base64_of(values)}


def base64_of(tensor: Array) -> str:
    return base64.b64encode(little_endian(tensor)).decode()


def little_endian(tensor: Array) -> bytes:
    return tensor.astype(tensor.dtype.newbyteorder("<")).tobytes()
