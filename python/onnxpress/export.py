"""From a model of any library to model.onnx, with a free batch axis."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy
import onnx

from .errors import SaveError
from .keras_model import KerasModel
from .onnx_file import OnnxFile
from .torch_model import TorchModel

Array = numpy.ndarray[Any, Any]
#: an input of one sample, and the model's output
Example = tuple[Array, Array]
#: of an exported graph from its model, relative to the largest logit; the order of sums in float32 makes 1e-6
MAX_DIFFERENCE = 1e-4


class Model(Protocol):
    """What `save` needs of a model, whatever library it is from."""

    #: of the model card
    framework: str
    name: str
    #: the model's own, as far as its library keeps them
    labels: Any
    problem_type: str | None
    transform: Any
    #: name of the output with the scores, if the graph has several
    output: str | None

    def prepared(self) -> AbstractContextManager[None]:
        """`run` and `export` are called in here."""

    def run(self, tensor: Array) -> Array:
        """The logits of a batch, float32 [n, classes]."""

    def export(self, path: Path, tensor: Array, free_axes: dict[int, str], check: Callable[[], None]) -> None:
        """Write the graph to a file.

        Args:
            path: of the file; weights above 2 GiB go to a second one beside it
            tensor: an example of the input
            free_axes: of the input, and their names
            check: to be called afterwards; raises an error if the graph does not do what the model does
        """


def open_model(model: Any) -> Model:
    """Recognise a model by its classes, so that only the user's own library is imported.

    Raises:
        SaveError: it is none of those that can be exported
    """
    if isinstance(model, (str, Path)):
        return OnnxFile(Path(model))
    bases = {f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in type(model).__mro__}
    if "keras.Model" in bases:
        return KerasModel(model)
    if "ultralytics.Model" in bases:
        return ultralytics_model(model)
    if "torch.Module" in bases:
        return TorchModel(model)
    if isinstance(model, dict):
        raise SaveError(
            "the model is a dict: if it is a state_dict, load it into the model with load_state_dict, and pass the model"
        )
    raise SaveError(
        f"the model is of type {type(model).__name__}: pass a torch.nn.Module, a Keras model, an Ultralytics classifier, or "
        "the path of an .onnx file"
    )


def ultralytics_model(model: Any) -> Model:
    """Ultralytics classifiers return (probabilities, logits) in eval mode."""
    if model.task != "classify":
        raise SaveError(f"the Ultralytics model's task is {model.task!r}: pass a classifier, for example yolo11n-cls")
    opened = TorchModel(model.model, pick=lambda output: output[1])
    opened.framework = "Ultralytics"
    opened.labels = model.names
    opened.transform = ultralytics_transform(model)
    return opened


def ultralytics_transform(model: Any) -> Any:
    """The transform of its predictions, for the size that it was trained with."""
    from ultralytics.data.augment import classify_transforms

    size = model.overrides.get("imgsz", getattr(model.model, "args", {}).get("imgsz", 224))
    return getattr(model.model, "transforms", None) or classify_transforms(size)


def export_graph(model: Model, path: Path, examples: list[Example], free_axes: dict[int, str]) -> str:
    """Write model.onnx, and name its input `input` and its output `logits`; those of a finished file stay.

    Returns:
        the function that the graph ends in, "Softmax" or "Sigmoid", else ""
    """
    model.export(path, examples[0][0], free_axes, lambda: check_graph(path, examples))
    graph = onnx.load(path, load_external_data=False)
    if not isinstance(model, OnnxFile):
        name_ends(graph.graph, free_axes)
        onnx.save(graph, path)
        onnx.checker.check_model(path)
    return last_function(graph.graph, model.output)


def check_graph(path: Path, examples: list[Example]) -> None:
    """Run the graph where onnxruntime is installed: exporters also write graphs that fail on another size or batch."""
    if importlib.util.find_spec("onnxruntime") is None:
        warnings.warn(
            "onnxruntime is not installed, so the exported graph was not compared with the model: pip install onnxruntime",
            stacklevel=2,
        )
        return
    graph = OnnxFile(path)
    for tensor, logits in examples:
        for batch in (1, 3):
            difference = numpy.abs(graph.run(numpy.repeat(tensor, batch, axis=0)) - logits).max()
            if not difference <= MAX_DIFFERENCE * max(1, numpy.abs(logits).max()):
                raise SaveError(f"the graph's output differs from the model's by {difference:.2g}")


def name_ends(graph: onnx.GraphProto, free_axes: dict[int, str]) -> None:
    """Rename input, output and free axes: exporters call them s77, keras_tensor and the like."""
    name_end(graph, graph.input[0], "input")
    name_end(graph, graph.output[0], "logits")
    del graph.value_info[:]  # shapes of intermediate results, in the old names; the runtime infers them itself
    for axis, name in free_axes.items():
        graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    graph.output[0].type.tensor_type.shape.dim[0].dim_param = free_axes[0]


def name_end(graph: onnx.GraphProto, end: onnx.ValueInfoProto, name: str) -> None:
    if end.name != name:
        rename(graph, name, f"{name}_inside")  # another value may have the name
        rename(graph, end.name, name)


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Rename a value everywhere, also in the branches of conditions and in loops."""
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                rename(inner, old, new)
    for value in (*graph.input, *graph.output, *graph.initializer):
        if value.name == old:
            value.name = new


#: operators that keep the values, apart from their precision
TRANSPARENT = (
    "Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout", "QuantizeLinear", "DequantizeLinear",
)  # fmt: skip


def last_function(graph: onnx.GraphProto, output: str | None) -> str:
    """The operator that makes an output, by default the first, if it makes scores of logits; else "".

    Args:
        output: its name
    """
    makers = {name: node for node in graph.node for name in node.output}
    node = makers.get(output or graph.output[0].name)
    while node is not None and node.op_type in TRANSPARENT:
        node = makers.get(node.input[0])
    name = "" if node is None else node.op_type.removeprefix("QLinear")
    return name if name in ("Softmax", "Sigmoid") else ""
