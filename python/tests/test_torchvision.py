"""torchvision: every preset, and pipelines of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import PHOTOS, SQUARE_PHOTOS, assert_same_tensors, assert_served

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")
from torch import nn  # noqa: E402
from torchvision import transforms as v1  # noqa: E402
from torchvision.transforms import InterpolationMode, v2  # noqa: E402

import onnxpress  # noqa: E402

SAMPLE = Path(__file__).parents[2] / "models/mnist/sample.png"


def presets() -> dict[str, Any]:
    """The distinct transforms of all weights, by the name of the first that has it."""
    found: dict[str, Any] = {}
    for name in torchvision.models.list_models(module=torchvision.models):
        for weights in torchvision.models.get_model_weights(name):
            transform = weights.transforms()
            if repr(transform) not in map(repr, found.values()):
                found[f"{name} {weights.name}"] = transform
    return found


def tiny(channels: int = 3, classes: int = 4) -> Any:
    """A model for images of any size."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 5, stride=3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(32, classes),
    )  # fmt: skip


def serve(folder: Path, model: Any, transform: Any, photos: Any = PHOTOS, mode: str = "RGB", **options: Any) -> None:
    """Save, and compare what is served with the model in PyTorch."""
    labels = options.pop("labels", ["cat", "dog", "fox", "owl"])
    assert (
        onnxpress.save(model, folder / "my_model", transform=transform, labels=labels, **options) == folder / "my_model"
    )
    assert model.training
    model.eval()

    def scores(tensor: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            logits = model(torch.from_numpy(tensor))
            multi = options.get("problem_type") == "multi_label"
            return (logits.sigmoid() if multi else logits.softmax(1)).numpy()

    assert_served(folder / "my_model", transform, scores, photos, mode)


@pytest.mark.parametrize("name", presets())
def test_preset(name: str) -> None:
    assert_same_tensors(presets()[name])


def test_preset_is_served(tmp_path: Path) -> None:
    weights = torchvision.models.MobileNet_V3_Small_Weights.DEFAULT
    serve(tmp_path, torchvision.models.mobilenet_v3_small(), weights.transforms(), labels=None)


ANY_SIZE = v1.Compose([v1.Resize(48), v1.ToTensor()])


def test_model_for_images_of_any_size(tmp_path: Path) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
    serve(tmp_path, model, ANY_SIZE)


def test_graph_of_one_size_for_images_of_any_size(tmp_path: Path) -> None:
    # neither exporter can pool an unknown size to 2x2
    with pytest.raises(onnxpress.SaveError, match=r"put Resize\(\(height, width\)\) into the transform"):
        onnxpress.save(tiny(), tmp_path / "my_model", transform=ANY_SIZE, labels=["cat", "dog", "fox", "owl"])
    assert not any(tmp_path.iterdir())


MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TENSOR = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
ON_IMAGES = {
    "squash": v1.Compose([v1.Resize((61, 43)), v1.ToTensor()]),
    "one mean for all": v1.Compose([v1.Resize(40), v1.CenterCrop(32), v1.ToTensor(), v1.Normalize(0.5, 0.25)]),
    "crop larger than the image": v1.Compose([v1.CenterCrop((93, 70)), v1.ToTensor(), v1.Normalize(MEAN, STD)]),
    "crop of the tensor": v1.Compose([v1.Resize(41), v1.ToTensor(), v1.CenterCrop(64), v1.Normalize(MEAN, STD)]),
    "nested": v1.Compose([v1.Compose([v1.Resize(50), v1.CenterCrop(33)]), v1.Compose([v1.ToTensor()])]),
    "PILToTensor": v1.Compose(
        [v1.Resize(50), v1.CenterCrop(33), v1.PILToTensor(), v1.ConvertImageDtype(torch.float32)]
    ),
    "v2": v2.Compose([v2.Resize(50), v2.CenterCrop(33), *TENSOR, v2.Normalize(MEAN, STD)]),
    "v2 ToTensor": v2.Compose([v2.Resize((32, 32)), v2.ToTensor(), v2.Normalize(MEAN, STD)]),
    "levels as floats": v2.Compose(
        [v2.Resize((32, 32)), v2.ToImage(), v2.ToDtype(torch.float32), v2.Normalize([127.5], [64])]
    ),
    "size of the image": v1.Compose([v1.Resize(48), v1.ToTensor()]),
    **{
        f"{mode.value}": v1.Compose([v1.Resize((45, 70), interpolation=mode), v1.ToTensor()])
        for mode in InterpolationMode
    },
}


@pytest.mark.parametrize("name", ON_IMAGES)
def test_images(name: str) -> None:
    assert_same_tensors(ON_IMAGES[name])


GREY = {
    "first": v1.Compose([v1.Grayscale(), v1.Resize((28, 28)), v1.ToTensor(), v1.Normalize((0.1307,), (0.3081,))]),
    "last": v1.Compose([v1.Resize((28, 28)), v1.Grayscale(), v1.ToTensor()]),
    "after the crop": v2.Compose([v2.Resize(40), v2.CenterCrop(31), v2.Grayscale(), *TENSOR]),
}


@pytest.mark.parametrize("name", GREY)
def test_grey(name: str) -> None:
    assert_same_tensors(GREY[name])


ON_TENSORS = {
    "bilinear": v2.Compose([v2.ToImage(), v2.Resize((37, 52)), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]),
    "bicubic": v2.Compose(
        [v2.PILToTensor(), v2.ToDtype(torch.uint8, scale=True), v2.Resize(48, InterpolationMode.BICUBIC), v2.CenterCrop(41),
         v2.ToDtype(torch.float32, scale=True)]
    ),
    "nearest": v2.Compose([v2.ToImage(), v2.Resize((37, 52), InterpolationMode.NEAREST_EXACT), v2.ConvertImageDtype(torch.float32)]),
    "v1 crop": v2.Compose([v2.ToImage(), v2.Resize(33), v1.CenterCrop(40), *TENSOR[1:], v1.Normalize(MEAN, STD)]),
    "lanczos": v2.Compose([v2.ToImage(), v2.Resize((70, 40), InterpolationMode.LANCZOS), *TENSOR[1:]]),
}  # fmt: skip


@pytest.mark.parametrize("name", ON_TENSORS)
def test_tensors(name: str) -> None:
    assert_same_tensors(ON_TENSORS[name])


class ConvNet(nn.Module):
    """The digit classifier of many books."""

    def __init__(self) -> None:
        super().__init__()
        self.cn1 = nn.Conv2d(1, 16, 3, 1)
        self.cn2 = nn.Conv2d(16, 32, 3, 1)
        self.dp1 = nn.Dropout2d(0.10)
        self.dp2 = nn.Dropout2d(0.25)
        self.fc1 = nn.Linear(4608, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        x = nn.functional.relu(self.cn2(nn.functional.relu(self.cn1(x))))
        x = torch.flatten(self.dp1(nn.functional.max_pool2d(x, 2)), 1)
        return nn.functional.log_softmax(self.fc2(self.dp2(nn.functional.relu(self.fc1(x)))), dim=1)


def test_digits(tmp_path: Path) -> None:
    transform = v1.Compose([v1.Resize((28, 28)), v1.ToTensor(), v1.Normalize((0.1302,), (0.3069,))])
    # the images of MNIST are grey already, so that no step converts
    serve(tmp_path, ConvNet(), transform, mode="L", labels=[str(n) for n in range(10)], sample=SAMPLE)


class TinyVGG(nn.Module):
    def __init__(self, channels: int, side: int) -> None:
        super().__init__()

        def block(before: int) -> list[Any]:
            return [
                nn.Conv2d(before, 10, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(10, 10, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]

        self.features = nn.Sequential(*block(channels), *block(10))
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(10 * (side // 4) ** 2, 10))

    def forward(self, x: Any) -> Any:
        return self.classifier(self.features(x))


CLOTHES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def test_clothes(tmp_path: Path) -> None:
    transform = v1.Compose([v1.Resize((28, 28)), v1.Grayscale(), v1.ToTensor()])
    serve(tmp_path, TinyVGG(1, 28), transform, labels=dict(enumerate(CLOTHES)))


def test_ratio_is_kept_for_a_model_of_one_size(tmp_path: Path) -> None:
    transform = v1.Compose([v1.Resize(64), v1.ToTensor()])
    with pytest.warns(UserWarning, match="another aspect ratio"):
        serve(tmp_path, TinyVGG(3, 64), transform, SQUARE_PHOTOS, labels=CLOTHES)


@pytest.mark.parametrize("ends_in_sigmoid", [False, True])
def test_faces(ends_in_sigmoid: bool, tmp_path: Path) -> None:
    transform = v1.Compose(
        [v1.Resize((224, 224)), v1.ToTensor(), v1.Normalize([0.5063, 0.4258, 0.3832], [0.31, 0.29, 0.289])]
    )
    model = nn.Sequential(tiny(classes=40), *([nn.Sigmoid()] if ends_in_sigmoid else []))
    folder = tmp_path / "faces"
    labels = [f"attribute {number}" for number in range(40)]
    onnxpress.save(model, folder, transform=transform, labels=labels, problem_type="multi_label", threshold=0.3)
    model.eval()

    def scores(tensor: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            logits = model(torch.from_numpy(tensor))
        return (logits if ends_in_sigmoid else logits.sigmoid()).numpy()

    assert_served(folder, transform, scores)
