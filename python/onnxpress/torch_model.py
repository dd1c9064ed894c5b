"""PyTorch models: run and exported in eval mode on the CPU, and left as they were."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from .errors import SaveError, first_line

if TYPE_CHECKING:
    from .export import Array

#: the opset that torch's exporter is written for; newer ones are converted from it, and ONNX Runtime 1.30 runs it
OPSET = 18
#: a protobuf file holds at most 2 GiB
MAX_FILE_BYTES = 2_000_000_000


class TorchModel:
    """A torch.nn.Module; timm's and transformers' models are of this kind."""

    framework = "PyTorch"
    transform: Any = None
    output: str | None = None

    def __init__(self, module: Any, pick: Callable[[Any], Any] | None = None) -> None:
        """`pick` takes the logits out of what the module returns."""
        self.module = unwrap(module)
        self.name = type(self.module).__name__
        dtypes = {weight.dtype for weight in self.module.parameters() if weight.is_floating_point()}
        if any(str(dtype) != "torch.float32" for dtype in dtypes):
            raise SaveError(
                f"the model has weights of {', '.join(sorted(map(str, dtypes)))}: convert them with model.float()"
            )
        config = getattr(self.module, "config", None)
        self.labels: Any = getattr(config, "id2label", None)
        self.problem_type: str | None = getattr(config, "problem_type", None)
        self._pick = pick or logits_of

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """In eval mode and on the CPU; afterwards each part is in its own mode and on its device again."""
        modes = {module: module.training for module in self.module.modules()}
        first = next(self.module.parameters(), None)
        device = None if first is None else first.device
        self.module.eval()
        try:
            self.module.cpu()
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode
            if device is not None:
                self.module.to(device)

    def run(self, tensor: Array) -> Array:
        import torch

        with torch.no_grad():
            result: Array = self._pick(self.module(torch.from_numpy(tensor))).float().numpy()
        return result

    def export(self, path: Path, tensor: Array, free_axes: dict[int, str], check: Callable[[], None]) -> None:
        try:
            self._export(path, tensor, free_axes, is_current=True)
            check()
            return
        except Exception as error:  # whatever the exporter, or a library that it lacks, raises
            reason = error
        warnings.warn(
            f"torch's current exporter failed ({first_line(reason)}), so the graph is made by its older one, which "
            "records one run: a branch that depends on the values is fixed",
            stacklevel=2,
        )
        try:
            self._export(path, tensor, free_axes, is_current=False)
            check()
        except Exception as error:
            size = (
                ", put Resize((height, width)) into the transform so that the size is fixed" if 2 in free_axes else ""
            )
            raise SaveError(
                f"torch.onnx.export failed on {self.name} ({first_line(error)}): change the part of forward that it "
                f"names{size}, or export the model yourself and pass the path of the .onnx file"
            ) from error

    def _export(self, path: Path, tensor: Array, free_axes: dict[int, str], is_current: bool) -> None:
        import torch

        example = torch.from_numpy(numpy.concatenate([tensor, tensor]))  # a batch of 1 would be taken for a constant
        if is_current:
            bytes_of_weights = sum(weight.numel() * weight.element_size() for weight in self.module.parameters())
            options = {
                "dynamic_shapes": ({axis: torch.export.Dim.DYNAMIC for axis in free_axes},),
                "external_data": bytes_of_weights > MAX_FILE_BYTES,
                "verbose": False,
            }
        else:
            options = {"dynamic_axes": {"input": free_axes, "logits": {0: free_axes[0]}}}
        with quiet():
            torch.onnx.export(
                self._exportable(),
                (example,),
                path,
                dynamo=is_current,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["logits"],
                **options,
            )

    def _exportable(self) -> Any:
        """The module with the logits as its only output."""
        import torch

        class Logits(torch.nn.Module):
            def __init__(self, module: Any, pick: Callable[[Any], Any]) -> None:
                super().__init__()
                self.module = module
                self.pick = pick

            def forward(self, input: Any) -> Any:
                return self.pick(self.module(input))

        return Logits(self.module, self._pick).eval()


def unwrap(module: Any) -> Any:
    """The module inside torch.compile's, DataParallel's or DistributedDataParallel's wrapper."""
    if hasattr(module, "_orig_mod"):
        return unwrap(module._orig_mod)
    return unwrap(module.module) if type(module).__name__.endswith("DataParallel") else module


def logits_of(output: Any) -> Any:
    """The output itself, or that of a transformers model.

    Raises:
        SaveError: it is a tuple, a dict or something else
    """
    import torch

    logits = getattr(output, "logits", output)
    if isinstance(logits, torch.Tensor):
        return logits
    raise SaveError(
        f"the model returns a {type(output).__name__}, expected one tensor: let forward return only the logits"
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' pages of progress and warnings out of the notebook."""
    nowhere = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        warnings.simplefilter("ignore")
        yield
