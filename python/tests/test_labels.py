"""Labels from what people have at hand. Needs no other library."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnxpress import SaveError
from onnxpress.labels import read_labels

DATASET = SimpleNamespace(classes=["cat", "dog"], class_to_idx={"cat": 0, "dog": 1})


@pytest.mark.parametrize(
    "source",
    [
        ["cat", "dog"],
        ("cat", "dog"),
        np.array(["cat", "dog"]),
        {0: "cat", 1: "dog"},
        {"1": "dog", "0": "cat"},
        {"dog": 1, "cat": 0},
        DATASET,
        SimpleNamespace(classes=["cat", "dog"]),
        SimpleNamespace(dataset=SimpleNamespace(dataset=DATASET)),
        SimpleNamespace(meta={"categories": ["cat", "dog"]}),
        {"cat": 0, "dog": 1}.keys(),
    ],
)
def test_sources(source: Any) -> None:
    assert read_labels(source) == ["cat", "dog"]


def test_numbers_are_names() -> None:
    assert read_labels(range(3)) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"cat", "dog"}, "labels is a set, which has no order: pass a list in the order of the model's output"),
        ("cat", """labels is the string 'cat': pass a list such as ["cat", "dog"], a dict, or the dataset"""),
        ([], """labels is empty: pass a list such as ["cat", "dog"], a dict, or the dataset"""),
        (3.5, """labels is of type float: pass a list such as ["cat", "dog"], a dict, or the dataset"""),
        (["cat", None], "labels has None, which is neither a string nor a number: name each class"),
        ({0: "cat", 2: "dog"}, "labels has no name for class 1: number the classes from 0 to 1"),
        ({"cat": 0, "dog": 0}, "labels has two names for one class number: name each class once"),
        ({"a": "cat"}, 'labels is a dict without class numbers: pass {0: "cat", 1: "dog"} or {"cat": 0, "dog": 1}'),
    ],
)
def test_refusals(source: Any, message: str) -> None:
    with pytest.raises(SaveError) as refusal:
        read_labels(source)
    assert str(refusal.value) == message
