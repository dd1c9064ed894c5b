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
    #: the output with the scores, if there are several
    output: str | None = None

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
        outputs = [output.name for output in self._read().output]
        if len(outputs) > 1:
            self.output = choose_output(outputs)

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
            providers = ["CPUExecutionProvider"]
            session = self._session = self._session or onnxruntime.InferenceSession(self.path, providers=providers)
            input_name = session.get_inputs()[0].name
        result: Array = session.run(self.output and [self.output], {input_name: tensor})[0]
        return result.astype("float32")

    def export(self, path: Path, tensor: Array, free_axes: dict[int, str], check: Callable[[], None]) -> None:
        """Copy the graph; its external data, if it has any, becomes one file beside it."""
        if any(map(uses_external_data, self._read().initializer)):
            onnx.save(onnx.load(self.path), path, save_as_external_data=True, location=f"{path.name}.data")
        else:
            shutil.copyfile(self.path, path)

    def _read(self) -> onnx.GraphProto:
        try:
            return onnx.load(self.path, load_external_data=False).graph
        except Exception as error:  # protobuf's own
            raise SaveError(f"{str(self.path)!r} is not an ONNX graph: {first_line(error)}") from error


def choose_output(names: list[str]) -> str:
    """The logits, or the probabilities that scikit-learn's and XGBoost's converters write beside the label."""
    if "logits" in names:
        return "logits"
    for name in names:
        if "probabilit" in name:
            return name
    raise SaveError(
        f"the graph has several outputs ({', '.join(names)}): name the one with the scores `logits`, or leave only that "
        "one with onnx.utils.extract_model"
    )
