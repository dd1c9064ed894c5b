"""README.md of a model folder: the model card."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .check import Inputs
from .export import Model
from .transforms import Preprocessing

if TYPE_CHECKING:
    from .output import Output

KINDS = {
    "single_label_classification": "the best of {outputs} classes",
    "multi_label_classification": "all of {outputs} classes that score more than {threshold}",
    "regression": "{outputs} number(s)",
}
MAX_LABELS = 20


def card(
    name: str,
    model: Model,
    inputs: Inputs,
    preprocessing: Preprocessing | None,
    output: Output,
    versions: dict[str, str],
) -> str:
    """The card, in Markdown with the Hugging Face Hub's header."""
    first = inputs.cases[0]
    outputs = len(output.scores(first.logits[0]))
    dims = ["n", *(inputs.free_axes.get(axis, size) for axis, size in enumerate(first.tensor.shape[1:], start=1))]
    threshold = 0.5 if output.threshold is None else output.threshold
    result = KINDS[output.problem_type].format(outputs=outputs, threshold=threshold)
    lines = [
        "---",
        "library_name: onnx",
        *(["pipeline_tag: image-classification"] if preprocessing and output.problem_type != "regression" else []),
        "---",
        "",
        f"# {name}",
        "",
        f"{model.name}, a model of {model.framework}, saved for onnxpress.",
        "",
        "| | |",
        "|---|---|",
        f"| result | {result} |",
        f"| input | {first.tensor.dtype} [{', '.join(map(str, dims))}] |",
        f"| scores | {'the output as it is' if output.function == 'none' else f'{output.function} of the output'} |",
        *([f"| labels | {label_list(output.labels)} |"] if output.labels else []),
        f"| saved with | {', '.join(f'{name} {version}' for name, version in versions.items())} |",
        "",
    ]
    if preprocessing:
        keys = json.dumps(preprocessing.keys, indent=2)
        lines += ["Images are prepared as `preprocessor_config.json` says:", "", "```json", keys, "```", ""]
    lines += ["`check.json` has tensors and scores made in Python, for the server to compare its own with.", ""]
    return "\n".join(lines)


def label_list(labels: list[str]) -> str:
    shown = ", ".join(labels[:MAX_LABELS]).replace("|", "\\|")
    return shown if len(labels) <= MAX_LABELS else f"{shown}, and {len(labels) - MAX_LABELS} more"
