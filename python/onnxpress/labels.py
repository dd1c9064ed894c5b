"""Labels in the order of the model's output, from what people have at hand."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from .errors import SaveError

FORMS = 'a list such as ["cat", "dog"], a dict, or the dataset'


def read_labels(source: Any) -> list[str]:
    """Labels in class order.

    Args:
        source: a list; a dict, number to name (`id2label`) or name to number (`class_to_idx`); a dataset with one of
            `classes` and `class_to_idx`, or a Subset of it; torchvision's weights
    """
    named = find_named(source)
    labels = ordered(named) if isinstance(named, Mapping) else as_labels(named)
    if not labels:
        raise SaveError(f"labels is empty: pass {FORMS}")
    return labels


def find_named(source: Any) -> Any:
    """What holds the names: `source` itself, or an attribute of a dataset or of torchvision's weights."""
    while not isinstance(source, (list, tuple, Mapping)):
        meta = getattr(source, "meta", None)
        if isinstance(meta, Mapping) and "categories" in meta:
            return meta["categories"]
        if getattr(source, "class_to_idx", None):
            return source.class_to_idx  # states the order, which a dataset's `classes` need not have
        if getattr(source, "classes", None) is not None:
            return source.classes
        if not hasattr(source, "dataset"):
            return source
        source = source.dataset
    return source


def ordered(named: Mapping[Any, Any]) -> list[str]:
    """Labels by class number of a dict in either direction."""
    if all(is_number(key) for key in named):
        by_number = {int(key): name for key, name in named.items()}
    elif all(is_number(value) for value in named.values()):
        by_number = {int(number): name for name, number in named.items()}
        if len(by_number) < len(named):
            raise SaveError("labels has two names for one class number: name each class once")
    else:
        raise SaveError('labels is a dict without class numbers: pass {0: "cat", 1: "dog"} or {"cat": 0, "dog": 1}')
    missing = next((number for number in range(len(by_number)) if number not in by_number), None)
    if missing is not None:
        raise SaveError(f"labels has no name for class {missing}: number the classes from 0 to {len(by_number) - 1}")
    return as_labels([by_number[number] for number in range(len(by_number))])


def is_number(value: Any) -> bool:
    return not isinstance(value, bool) and str(value).isdecimal()


def as_labels(names: Any) -> list[str]:
    if isinstance(names, (set, frozenset)):
        raise SaveError("labels is a set, which has no order: pass a list in the order of the model's output")
    if isinstance(names, str):
        raise SaveError(f"labels is the string {names!r}: pass {FORMS}")
    try:
        items = iter(names)
    except TypeError:
        raise SaveError(f"labels is of type {type(names).__name__}: pass {FORMS}") from None
    labels = []
    for item in items:  # of a dataset, only the first one is read
        if isinstance(item, bool) or not (isinstance(item, str) or is_number(item)):
            shown = reprlib.repr(item)
            raise SaveError(f"labels has {shown}, which is neither a string nor a number: name each class")
        labels.append(str(item))
    return labels
