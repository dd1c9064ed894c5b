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
        ({"cat", "dog"}, "labels is a set, which has no order: give a list in the order of the model's output"),
        ("cat", """labels is the text 'cat': give a list such as ["cat", "dog"], a dict, or the dataset"""),
        ([], """labels is empty: give a list such as ["cat", "dog"], a dict, or the dataset"""),
        (3.5, """labels is of type float: give a list such as ["cat", "dog"], a dict, or the dataset"""),
        (["cat", None], "labels has None, which is neither text nor a number: give each class a name"),
        ({0: "cat", 2: "dog"}, "labels has no name for class 1: number the classes from 0 to 1"),
        ({"cat": 0, "dog": 0}, "labels gives two names to one class number: give each class one name"),
        ({"a": "cat"}, 'labels is a dict without class numbers: give {0: "cat", 1: "dog"} or {"cat": 0, "dog": 1}'),
    ],
)
def test_refusals(source: Any, message: str) -> None:
    with pytest.raises(SaveError) as refusal:
        read_labels(source)
    assert str(refusal.value) == message
