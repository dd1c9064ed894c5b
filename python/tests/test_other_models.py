"""Models without images, Keras, Ultralytics, and finished graphs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from serving import Server, assert_served

torch = pytest.importorskip("torch")
from test_torchvision import SAMPLE, tiny  # noqa: E402
from torch import nn  # noqa: E402
from torchvision import transforms  # noqa: E402

import onnxpress  # noqa: E402

JSON = {"content-type": "application/json"}
TRANSFORM = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])


def test_number(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, 2)
    nn.init.constant_(model.bias, -1)
    folder = onnxpress.save(model, tmp_path / "linear", sample=5.0)
    assert not (folder / "preprocessor_config.json").exists()
    cases = json.loads((folder / "check.json").read_text())["cases"]
    assert cases[0]["input"] == {"dims": [1, 1], "dtype": "float32", "data": "AACgQA=="} and cases[0]["scores"] == [9]
    with Server(folder) as server:
        one = server.predict(b"value=5", **{"content-type": "application/x-www-form-urlencoded"})
        three = server.predict(b'{"data": [[1], [2], [3]], "dims": [3, 1]}', **JSON)
    assert one == {"input": 5, "prediction": 9}
    assert [result["prediction"] for result in three] == [1, 3, 5]


def test_features(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    folder = onnxpress.save(
        model, tmp_path / "iris", sample=[5.1, 3.5, 1.4, 0.2], labels=["setosa", "versicolor", "virginica"]
    )
    expected = model(torch.tensor([5.1, 3.5, 1.4, 0.2])).softmax(0).tolist()
    with Server(folder) as server:
        result = server.predict(b'{"data": [5.1, 3.5, 1.4, 0.2], "dims": [4]}', **JSON)
    served = {prediction["label"]: prediction["score"] for prediction in result["predictions"]}
    assert np.allclose([served["setosa"], served["versicolor"], served["virginica"]], expected, atol=1e-5)


@pytest.mark.parametrize("flattens", [False, True])
def test_keras(flattens: bool, tmp_path: Path) -> None:
    os.environ["KERAS_BACKEND"] = "torch"
    keras = pytest.importorskip("keras")
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((32, 32, 3), name="input"), layers.Conv2D(8, 3, strides=2, activation="relu"), layers.BatchNormalization(),
        layers.Flatten() if flattens else layers.GlobalAveragePooling2D(), layers.Dropout(0.5),
        layers.Dense(3, activation="softmax"),
    ])  # fmt: skip
    folder = onnxpress.save(model, tmp_path / "keras", transform=TRANSFORM, labels=["cat", "dog", "fox"], sample=SAMPLE)
    assert json.loads((folder / "config.json").read_text())["function_to_apply"] == "none"
    assert_served(
        folder,
        TRANSFORM,
        lambda tensor: keras.ops.convert_to_numpy(model(tensor.transpose(0, 2, 3, 1), training=False)),
    )


def test_ultralytics(tmp_path: Path) -> None:
    ultralytics = pytest.importorskip("ultralytics")
    from ultralytics.data.augment import classify_transforms

    model = ultralytics.YOLO("yolo11n-cls.yaml")
    model.overrides["imgsz"] = 64  # as that of a trained model has it
    folder = onnxpress.save(model, tmp_path / "yolo", labels=[f"class {number}" for number in range(1000)])
    model.model.eval()

    def scores(tensor: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model.model(torch.from_numpy(tensor))[0].numpy()

    assert_served(folder, classify_transforms(64), scores)


def test_finished_graph(tmp_path: Path) -> None:
    model = tiny().eval()
    path = tmp_path / "finished.onnx"
    torch.onnx.export(
        model, (torch.zeros(2, 3, 32, 32),), path, dynamo=False, input_names=["input"], output_names=["logits"],
        dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
    )  # fmt: skip
    folder = onnxpress.save(path, tmp_path / "my_model", transform=TRANSFORM, labels=["cat", "dog", "fox", "owl"])
    assert (folder / "model.onnx").read_bytes() == path.read_bytes()

    def scores(tensor: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(tensor)).softmax(1).numpy()

    assert_served(folder, TRANSFORM, scores)
