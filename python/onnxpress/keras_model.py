"""Keras 3 models, with any of its backends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import onnx

from .errors import SaveError, first_line
from .torch_model import OPSET, quiet

if TYPE_CHECKING:
    from .export import Array


class KerasModel:
    """A keras.Model. Images arrive as [n,c,h,w]; one that expects channels last gets a Transpose in front."""

    framework = "Keras"
    labels: Any = None
    problem_type: str | None = None
    transform: Any = None
    output: str | None = None

    def __init__(self, model: Any) -> None:
        self.model = model
        self.name = model.name
        shape = model.input_shape
        if not isinstance(shape, tuple):
            raise SaveError(
                "the Keras model has several inputs, and the server takes one: an image, features or a number"
            )
        self._is_channels_last = len(shape) == 4 and shape[3] in (1, 3)

    @contextlib.contextmanager
    def prepared(self) -> Any:
        yield

    def run(self, tensor: Array) -> Array:
        import keras

        output = self.model(tensor.transpose(0, 2, 3, 1) if self._is_channels_last else tensor, training=False)
        return numpy.asarray(keras.ops.convert_to_numpy(output), numpy.float32)

    def export(self, path: Path, tensor: Array, free_axes: dict[int, str], check: Callable[[], None]) -> None:
        with quiet():
            try:
                self.model.export(str(path), format="onnx", opset_version=OPSET, verbose=False)
            except Exception as error:  # whatever the backend's exporter, or a library that it lacks, raises
                raise SaveError(f"Keras cannot export the model to ONNX: {first_line(error)}") from error
        if self._is_channels_last:
            graph = onnx.load(path)
            transpose_input(graph, [free_axes.get(axis, size) for axis, size in enumerate(tensor.shape)])
            onnx.save(graph, path)
        check()


def transpose_input(model: onnx.ModelProto, dims: list[int | str]) -> None:
    """Give a graph of [n,h,w,c] an input of `dims`, which are [n,c,h,w]."""
    graph = model.graph
    name, dtype = graph.input[0].name, graph.input[0].type.tensor_type.elem_type
    graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("channels_first", dtype, dims))
    transpose = onnx.helper.make_node("Transpose", ["channels_first"], [name], perm=[0, 2, 3, 1])
    graph.node.insert(0, transpose)
