"""The meaning of a model's output: keys of config.json, and scores as the server makes them."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import Any

import numpy

from .errors import SaveError
from .export import Array, Model
from .labels import read_labels

PROBLEM_TYPES = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}
#: what the server applies by default
FUNCTIONS = {"single_label_classification": "softmax", "multi_label_classification": "sigmoid", "regression": "none"}


@dataclass(frozen=True)
class Output:
    problem_type: str
    labels: list[str] | None
    #: "softmax", "sigmoid" or "none"
    function: str
    threshold: float | None
    #: the problem type is not a default
    is_given: bool
    #: the output is one number, for the second of two classes
    is_binary: bool

    def of_graph(self, last_function: str, outputs: list[Array]) -> Output:
        """The same for a graph whose output has been through softmax or sigmoid already: the server applies none.

        Args:
            last_function: "Softmax" or "Sigmoid" if the graph shows that it ends in one, else ""
            outputs: of several inputs, each [1, classes]
        """
        if last_function == "Sigmoid" and not self.is_given and not self.is_binary:
            raise SaveError('the model ends in a sigmoid: set problem_type="multi_label", or another type')
        if last_function:
            return dataclasses.replace(self, function="none")
        if self.function == "softmax" and all(map(are_probabilities, outputs)):
            warnings.warn(
                "the model's outputs are probabilities (from 0 to 1, with a sum of 1), so softmax is not applied to them",
                stacklevel=3,
            )
            return dataclasses.replace(self, function="none")
        return self

    def config(self) -> dict[str, Any]:
        """Keys of config.json."""
        keys: dict[str, Any] = {"problem_type": self.problem_type, "function_to_apply": self.function}
        if self.threshold is not None:
            keys["threshold"] = self.threshold
        if self.labels is not None:
            keys["id2label"] = {str(number): label for number, label in enumerate(self.labels)}
        return keys

    def scores(self, logits: Array) -> Array:
        """Scores of one sample, float32."""
        values = logits.astype(numpy.float64)
        if self.function == "softmax":
            values = numpy.exp(values - values.max())
            values /= values.sum()
        elif self.function == "sigmoid":
            values = 1 / (1 + numpy.exp(-values))
        if self.is_binary:
            values = numpy.concatenate([1 - values, values])
        return values.astype(numpy.float32)


def read_output(
    model: Model, outputs: int, labels: list[str] | None, problem_type: str | None, threshold: float | None
) -> Output:
    """Check what is said about the output against the model.

    Args:
        outputs: of one sample
    """
    given = problem_type or model.problem_type
    kind = read_problem_type(given, outputs, labels)
    if threshold is not None and kind != PROBLEM_TYPES["multi_label"]:
        raise SaveError('threshold is for several labels at once: set problem_type="multi_label", or leave it out')
    if threshold is not None and not 0 <= threshold <= 1:
        raise SaveError(f"threshold is {threshold}, expected a number from 0 to 1")
    if labels is None and kind != "regression":
        if model.labels:
            labels = read_labels(model.labels)
        else:
            warnings.warn("no labels are passed, so results will have class numbers: pass labels=", stacklevel=3)
    is_binary = kind == PROBLEM_TYPES["single_label"] and outputs == 1
    if labels is not None and len(labels) != (2 if is_binary else outputs):
        what = "one output, the score of the second of two classes: pass two labels"
        raise SaveError(
            f"there are {len(labels)} labels, but the model has "
            + (what if is_binary else f"{outputs} outputs: pass one label for each")
        )
    function = "sigmoid" if is_binary else FUNCTIONS[kind]
    return Output(kind, labels, function, threshold, is_given=given is not None, is_binary=is_binary)


def are_probabilities(logits: Array) -> bool:
    return bool((logits >= 0).all() and (logits <= 1).all() and abs(logits.sum() - 1) < 1e-3)


def read_problem_type(given: str | None, outputs: int, labels: list[str] | None) -> str:
    if given is not None:
        kind = PROBLEM_TYPES.get(given, given)
        if kind not in FUNCTIONS:
            raise SaveError(f'problem_type is {given!r}, expected "single_label", "multi_label" or "regression"')
        return kind
    if outputs > 1 or (labels is not None and len(labels) == 2):
        return PROBLEM_TYPES["single_label"]
    if labels is None:
        return "regression"
    raise SaveError(
        "the model has one output: pass two labels if it is the score of the second, or set "
        'problem_type="multi_label" or "regression"'
    )
