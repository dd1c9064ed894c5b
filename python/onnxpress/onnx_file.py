"""A finished .onnx file: run as it is, and copied as it is."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx.external_data_helper import uses_external_data

from .errors import SaveError, first_line

if TYPE_CHECKING:
    from .export import Array


class OnnxFile:
    """The path of a graph. onnxruntime runs it if it is installed, else onnx's own evaluator, which is slow."""

    framework = "ONNX"
    labels: Any = None
    problem_type: str | None = None
    transform: Any = None

    def __init__(self, path: Path) -> None:
        if path.suffix != ".onnx":
            raise SaveError(
                f"{str(path)!r} is not an .onnx file: build the model, load its weights into it "
                "(model.load_state_dict(torch.load(path))) and pass the model"
            )
        if not path.is_file():
            raise SaveError(f"there is no file {str(path)!r}: pass a model, or the path of an .onnx file")
        self.path = path
        self.name = path.name
        self._session: Any = None

    @contextlib.contextmanager
    def prepared(self) -> Any:
        yield

    def run(self, tensor: Array) -> Array:
        try:
            import onnxruntime
        except ImportError:
            from onnx.reference import ReferenceEvaluator

            session = self._session = self._session or ReferenceEvaluator(str(self.path))
            input_name = session.input_names[0]
        else:
            session = self._session = self._session or onnxruntime.InferenceSession(self.path)
            input_name = session.get_inputs()[0].name
        result: Array = session.run(None, {input_name: tensor})[0]
        return result.astype("float32")

    def export(self, path: Path, tensor: Array, free_axes: dict[int, str], check: Callable[[], None]) -> None:
        """Copy the graph; its external data, if it has any, becomes one file beside it."""
        try:
            graph = onnx.load(self.path, load_external_data=False).graph
        except Exception as error:  # protobuf's own
            raise SaveError(f"{str(self.path)!r} is not an ONNX graph: {first_line(error)}") from error
        if any(map(uses_external_data, graph.initializer)):
            onnx.save(onnx.load(self.path), path, save_as_external_data=True, location=f"{path.name}.data")
        else:
            shutil.copyfile(self.path, path)
