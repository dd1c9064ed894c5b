"""save(): one call from a trained model to a folder that onnxpress serves."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .card import card
from .check import Inputs, array_inputs, check_json, image_inputs
from .errors import SaveError
from .export import Model, export_graph, open_model
from .labels import read_labels
from .output import Output, read_output
from .transforms import Preprocessing, translate


def save(
    model: Any,
    folder: str | os.PathLike[str],
    *,
    transform: Any = None,
    labels: Any = None,
    sample: Any = None,
    problem_type: str | None = None,
    threshold: float | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a model folder for onnxpress: graph, labels, preprocessing, model card and checks.

    Args:
        model: a torch.nn.Module (timm's and transformers' too), a Keras 3 model, an Ultralytics classifier, or the path of
            an .onnx file
        folder: to be created
        transform: your evaluation transform: torchvision's Compose or `weights.transforms()`, timm's
            `create_transform`, or a transformers image processor; none for a model without images
        labels: a list in the order of the model's output, a dict, a dataset, or torchvision's weights; by default the
            model's own, else the class numbers
        sample: an example image (path or PIL image) for the page and the checks; for a model without images an example
            of its input, a number or a list
        problem_type: "single_label", "multi_label" or "regression"; by default the model's own, else single label, or
            regression for one output without two labels
        threshold: multi-label: labels with a higher score are predicted; 0 to 1, by default 0.5
        overwrite: replace a model folder that is there

    Returns:
        the folder's path

    Raises:
        SaveError: something cannot be served exactly; nothing was written
    """
    target = Path(folder)
    check_target(target, overwrite)
    opened = open_model(model)
    transform = opened.transform if transform is None else transform
    preprocessing = None if transform is None else translate(transform)
    names = None if labels is None else read_labels(labels)
    with opened.prepared():
        if preprocessing is None:
            inputs = array_inputs(opened, sample)
        else:
            inputs = image_inputs(opened, transform, preprocessing, sample)
        examples = [(case.tensor, case.logits) for case in inputs.cases]
        output = read_output(opened, examples[0][1].shape[1], names, problem_type, threshold)
        with new_folder(target) as new:
            last_function = export_graph(opened, new / "model.onnx", examples, inputs.free_axes)
            output = output.of_graph(last_function, [logits for _, logits in examples])
            write_files(new, target.name, opened, inputs, preprocessing, output)
    return target


def check_target(target: Path, overwrite: bool) -> None:
    """Refuse to replace anything but a model folder, and that only if asked to."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise SaveError(f"{target} exists: choose another folder, or set overwrite=True")
    if not (target / "model.onnx").is_file():
        raise SaveError(f"{target} is not a model folder, so overwrite=True does not replace it: choose another folder")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its place at the end, or vanishes after an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    old = target.with_name(f"{new.name}.old")
    new.mkdir()
    try:
        yield new
        if target.exists():
            target.rename(old)
        new.rename(target)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_files(
    folder: Path, name: str, model: Model, inputs: Inputs, preprocessing: Preprocessing | None, output: Output
) -> None:
    """Everything but the graph."""
    config = {"architectures": [model.name], **output.config()}
    if model.output is not None:
        config["output"] = model.output
    write_json(folder / "config.json", config)
    if preprocessing is not None:
        write_json(folder / "preprocessor_config.json", preprocessing.keys)
    if inputs.sample is not None:
        sample, data = inputs.sample
        (folder / sample).write_bytes(data)
    check = check_json(inputs.cases, output.scores)
    (folder / "check.json").write_text(json.dumps(check, allow_nan=False) + "\n", "utf-8")
    (folder / "README.md").write_text(card(name, model, inputs, preprocessing, output, check["created_by"]), "utf-8")


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
