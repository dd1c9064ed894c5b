"""save() itself: what it writes, what it refuses, and that nothing is left half-written.

Needs no PyTorch: the model is a graph made here, and the transform does with Pillow and NumPy what torchvision does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from serving import PHOTOS, Server, assert_served, photo

import onnxpress
from onnxpress import SaveError
from onnxpress.export import name_ends, rename
from onnxpress.onnx_file import OnnxFile, choose_output

LABELS = ["cat", "dog", "fox"]
WEIGHTS = np.random.default_rng(0).normal(size=(3 * 5 * 4, 3)).astype("float32")


TORCHVISION = "torchvision.transforms.transforms"


class Resize:
    __module__ = TORCHVISION

    def __init__(self, size: Any) -> None:
        self.size, self.interpolation, self.max_size, self.antialias = size, "bilinear", None, True

    def __call__(self, image: Any) -> Any:
        return image.resize(self.size[::-1], Image.Resampling.BILINEAR)


class ToTensor:
    __module__ = TORCHVISION

    def __call__(self, image: Any) -> Any:
        return np.asarray(image, np.float32).reshape(image.height, image.width, -1).transpose(2, 0, 1) / np.float32(255)


class Normalize:
    __module__ = TORCHVISION

    def __init__(self, mean: Any, std: Any) -> None:
        self.mean, self.std = mean, std

    def __call__(self, tensor: Any) -> Any:
        mean, std = (np.array(numbers, np.float32)[:, None, None] for numbers in (self.mean, self.std))
        return (tensor - mean) / std


class Compose:
    __module__ = TORCHVISION

    def __init__(self, *transforms: Any) -> None:
        self.transforms = transforms

    def __call__(self, image: Any) -> Any:
        for step in self.transforms:
            image = step(image)
        return image


TRANSFORM = Compose(Resize((5, 4)), ToTensor(), Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return make_graph(tmp_path / "graph.onnx")


def make_graph(
    path: Path, weights: Any = WEIGHTS, last: tuple[str, ...] = (), outputs: tuple[str, ...] = ("logits",)
) -> Path:
    """A graph of [n,3,5,4] to [n,3]: one matrix, and then the operators `last`."""
    names = ["product", *(f"value{index}" for index in range(len(last)))]
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["product"]),
        *(helper.make_node(operator, [names[index]], [names[index + 1]]) for index, operator in enumerate(last)),
        helper.make_node("Identity", [names[-1]], ["logits"]),
    ]
    shapes = {"flat": 60, "logits": weights.shape[1]}
    save_graph(path, nodes, ["batch", 3, 5, 4], {name: shapes[name] for name in outputs}, weights)
    return path


def save_graph(path: Path, nodes: Any, dims: Any, outputs: dict[str, int], weights: Any) -> None:
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name, size in outputs.items()
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, dims)]
    parts = helper.make_graph(nodes, "matrix", inputs, ends, [numpy_helper.from_array(weights, "weights")])
    onnx.save(helper.make_model(parts, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


def scores(tensor: np.ndarray) -> np.ndarray:
    logits = tensor.reshape(len(tensor), -1) @ WEIGHTS
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_folder_is_served(graph: Path, tmp_path: Path) -> None:
    sample = tmp_path / "fox.jpeg"
    sample.write_bytes(photo(*PHOTOS[0]))
    folder = onnxpress.save(graph, tmp_path / "my_model", transform=TRANSFORM, labels=LABELS, sample=sample)
    names = ["README.md", "check.json", "config.json", "model.onnx", "preprocessor_config.json", "sample.jpg"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / "sample.jpg").read_bytes() == sample.read_bytes()
    assert_served(folder, TRANSFORM, scores)


def test_image_processor_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    graph = make_graph(tmp_path / "graph.onnx")
    processor = transformers.ViTImageProcessorPil(
        size={"height": 5, "width": 4}, image_mean=[0.1, 0.2, 0.3], resample=3
    )
    folder = onnxpress.save(graph, tmp_path / "my_model", transform=processor, labels=LABELS)
    assert_served(folder, processor, scores)


def test_sample_is_turned_as_exif_says(graph: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.linear_gradient("L").convert("RGB").resize((90, 40))
    sample = tmp_path / "turned.jpg"
    image.save(sample, exif=exif)
    folder = onnxpress.save(graph, tmp_path / "my_model", transform=TRANSFORM, labels=LABELS, sample=sample)
    assert_served(folder, TRANSFORM, scores)


def test_image_as_sample(graph: Path, tmp_path: Path) -> None:
    image = Image.linear_gradient("L").resize((40, 30))
    folder = onnxpress.save(graph, tmp_path / "my_model", transform=TRANSFORM, labels=LABELS, sample=image)
    assert np.array_equal(Image.open(folder / "sample.png"), image)


def test_turned_image_as_sample(graph: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    file = tmp_path / "turned.jpg"
    Image.linear_gradient("L").convert("RGB").resize((90, 40)).save(file, exif=exif)
    folder = onnxpress.save(graph, tmp_path / "my_model", transform=TRANSFORM, labels=LABELS, sample=Image.open(file))
    assert Image.open(folder / "sample.png").size == (40, 90)
    assert_served(folder, TRANSFORM, scores)


def test_sample_of_a_mode_that_png_lacks(graph: Path, tmp_path: Path) -> None:
    sample = tmp_path / "cmyk.tiff"
    Image.linear_gradient("L").convert("CMYK").resize((40, 30)).save(sample)
    folder = onnxpress.save(graph, tmp_path / "my_model", transform=TRANSFORM, labels=LABELS, sample=sample)
    assert Image.open(folder / "sample.png").mode == "RGB"
    assert_served(folder, TRANSFORM, scores)


def test_model_card(graph: Path, tmp_path: Path) -> None:
    folder = onnxpress.save(graph, tmp_path / "animals", transform=TRANSFORM, labels=LABELS)
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: onnx\npipeline_tag: image-classification\n---\n\n# animals\n")
    assert "| the best of 3 classes |" in card and "float32 [n, 3, 5, 4]" in card and "cat, dog, fox" in card
    assert f"onnx {onnx.__version__}" in card


def test_scores_of_a_graph_with_softmax(tmp_path: Path) -> None:
    graph = make_graph(tmp_path / "softmax.onnx", last=("Softmax", "Dropout"))
    folder = onnxpress.save(graph, tmp_path / "my_model", transform=TRANSFORM, labels=LABELS)
    assert json.loads((folder / "config.json").read_text())["function_to_apply"] == "none"
    assert_served(folder, TRANSFORM, scores)


def test_scores_that_only_the_values_show(tmp_path: Path) -> None:
    graph = make_graph(tmp_path / "softmax.onnx", last=("Softmax", "Abs"))
    with pytest.warns(UserWarning, match="outputs are probabilities .*, so softmax is not applied"):
        folder = onnxpress.save(graph, tmp_path / "my_model", transform=TRANSFORM, labels=LABELS)
    assert_served(folder, TRANSFORM, scores)


@pytest.mark.parametrize("last", [(), ("Sigmoid",)])
def test_one_output_for_two_classes(last: tuple[str, ...], tmp_path: Path) -> None:
    graph = make_graph(tmp_path / "binary.onnx", WEIGHTS[:, :1], last)
    folder = onnxpress.save(graph, tmp_path / "my_model", transform=TRANSFORM, labels=["cat", "dog"])

    def both(tensor: np.ndarray) -> np.ndarray:
        second = 1 / (1 + np.exp(-tensor.reshape(len(tensor), -1) @ WEIGHTS[:, :1]))
        return np.concatenate([1 - second, second], axis=1)

    assert "the best of 2 classes" in (folder / "README.md").read_text()
    assert_served(folder, TRANSFORM, both)


def test_graph_with_several_outputs(tmp_path: Path) -> None:
    graph = make_graph(tmp_path / "graph.onnx", outputs=("flat", "logits"))
    folder = onnxpress.save(graph, tmp_path / "my_model", transform=TRANSFORM, labels=LABELS)
    assert json.loads((folder / "config.json").read_text())["output"] == "logits"
    assert_served(folder, TRANSFORM, scores)
    with pytest.raises(SaveError, match=r"the graph has several outputs \(a, b\): name the one with the scores `logits`"):
        choose_output(["a", "b"])
    assert choose_output(["label", "probabilities"]) == "probabilities"


def test_features_for_which_the_model_is_defined(tmp_path: Path) -> None:
    nodes = [helper.make_node("Log", ["input"], ["log"]), helper.make_node("MatMul", ["log", "weights"], ["logits"])]
    graph = tmp_path / "features.onnx"
    save_graph(graph, nodes, ["batch", 2], {"logits": 3}, WEIGHTS[:2])
    folder = onnxpress.save(graph, tmp_path / "my_model", sample=[1.5, 2], labels=LABELS)
    names = [case["name"] for case in json.loads((folder / "check.json").read_text())["cases"]]
    assert names == ["sample", "ones"]
    with pytest.raises(SaveError, match="the model's output has a NaN or an infinity"):
        onnxpress.save(graph, tmp_path / "another", sample=[0, 2], labels=LABELS)


def test_ends_get_names_that_other_values_have(tmp_path: Path) -> None:
    graph = onnx.load(make_graph(tmp_path / "graph.onnx")).graph
    rename(graph, "input", "x")
    rename(graph, "logits", "y")
    rename(graph, "flat", "input")
    rename(graph, "product", "logits")
    name_ends(graph, {0: "batch"})
    path = tmp_path / "renamed.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    onnx.checker.check_model(path)
    assert [graph.input[0].name, graph.output[0].name] == ["input", "logits"]
    tensor = np.random.default_rng(1).normal(size=(2, 3, 5, 4)).astype("float32")
    assert np.allclose(OnnxFile(path).run(tensor), tensor.reshape(2, -1) @ WEIGHTS, atol=1e-5)


def test_numbers_of_images(tmp_path: Path) -> None:
    graph = make_graph(tmp_path / "age.onnx", WEIGHTS[:, :1])
    folder = onnxpress.save(graph, tmp_path / "age", transform=TRANSFORM)
    assert json.loads((folder / "config.json").read_text())["problem_type"] == "regression"
    assert_served(folder, TRANSFORM, lambda tensor: tensor.reshape(len(tensor), -1) @ WEIGHTS[:, :1])


def test_names_of_classes_are_optional(graph: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no labels are passed, so results will have class numbers: pass labels="):
        folder = onnxpress.save(graph, tmp_path / "my_model", transform=TRANSFORM)
    with Server(folder) as server:
        assert server.predict(photo(*PHOTOS[0]))["label"] in "012"


def test_a_folder_is_replaced_only_if_asked(graph: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my_model"
    options = {"transform": TRANSFORM, "labels": LABELS}
    folder.mkdir()
    onnxpress.save(graph, folder, **options)  # an empty folder is no loss
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(SaveError, match="my_model exists: choose another folder, or set overwrite=True"):
        onnxpress.save(graph, folder, **options)
    assert (folder / "notes.txt").exists()
    onnxpress.save(graph, folder, **options, overwrite=True)
    assert (folder / "model.onnx").exists() and not (folder / "notes.txt").exists()
    other = tmp_path / "photos"
    other.mkdir()
    (other / "holiday.jpg").write_text("mine")
    with pytest.raises(SaveError, match="photos is not a model folder, so overwrite=True does not replace it"):
        onnxpress.save(graph, other, **options, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graph.onnx", "my_model", "photos"]


def test_nothing_is_left_after_an_error(graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = onnxpress.save(graph, tmp_path / "my_model", transform=TRANSFORM, labels=LABELS)
    before = (folder / "check.json").read_bytes()

    def fail(*_: Any) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(sys.modules["onnxpress.save"], "card", fail)
    with pytest.raises(OSError, match="disk full"):
        onnxpress.save(graph, folder, transform=TRANSFORM, labels=LABELS, overwrite=True)
    with pytest.raises(OSError, match="disk full"):
        onnxpress.save(graph, tmp_path / "another", transform=TRANSFORM, labels=LABELS)
    assert (folder / "check.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graph.onnx", "my_model"]


def test_other_hidden_folders_are_left_alone(graph: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"transform": TRANSFORM, "labels": LABELS}
    folder = onnxpress.save(graph, tmp_path / "my_model", **options)
    other = tmp_path / ".my_model.old"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    onnxpress.save(graph, folder, **options, overwrite=True)
    assert (other / "notes.txt").read_text() == "mine"


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "labels": ({"labels": ["cat", "dog"]}, "there are 2 labels, but the model has 3 outputs: pass one label for each"),
    "problem type": (
        {"problem_type": "binary"},
        """problem_type is 'binary', expected "single_label", "multi_label" or "regression\"""",
    ),
    "threshold": (
        {"threshold": 0.3},
        'threshold is for several labels at once: set problem_type="multi_label", or leave it out',
    ),
    "range of the threshold": (
        {"threshold": 30, "problem_type": "multi_label"},
        "threshold is 30, expected a number from 0 to 1",
    ),
    "sample": (
        {"sample": "nowhere.jpg"},
        "sample 'nowhere.jpg' cannot be opened (FileNotFoundError: [Errno 2] No such file or directory: 'nowhere.jpg'): "
        "pass the path of an image",
    ),
    "no transform": (
        {"transform": None},
        "there is no transform: pass one, or for a model without images sample=5.0, an example of its input",
    ),
    "sample without a transform": (
        {"transform": None, "sample": "fox.jpg"},
        "the sample is an image, but there is no transform: pass your evaluation transform",
    ),
    "no resize": (
        {"transform": Compose(ToTensor())},
        "the model takes tensors of one size, but the transform makes them as large as the image: put "
        "Resize((height, width)) first, which leaves an image of that size as it is",
    ),
    "no size": ({"transform": Compose(Resize((6, 6)), ToTensor())}, "the model fails on a tensor of [1, 3, 6, 6] ("),
    "weights": ({"model": "model.pt"}, "'model.pt' is not an .onnx file: build the model, load its weights into it"),
    "missing graph": (
        {"model": "model.onnx"},
        "there is no file 'model.onnx': pass a model, or the path of an .onnx file",
    ),
    "state_dict": ({"model": {"fc.weight": 1}}, "the model is a dict: if it is a state_dict, load it into the model"),
    "class": ({"model": object()}, "the model is of type object: pass a torch.nn.Module, a Keras model,"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str, graph: Path, tmp_path: Path) -> None:
    options, message = REFUSALS[name]
    options = {"model": graph, "transform": TRANSFORM, "labels": LABELS, **options}
    with pytest.raises(SaveError) as refusal:
        onnxpress.save(options.pop("model"), tmp_path / "my_model", **options)
    assert str(refusal.value).startswith(message)
    assert "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["graph.onnx"]
