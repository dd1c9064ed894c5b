"""Make the models that bench/peers.ts serves, and PyTorch's results for its inputs: bench/models/.

    python3 make_models.py ../models     (the environment of torch.txt)

MNIST is the bundled model. The others are torchvision's networks with seeded random weights, since training does not
change their speed. Every folder gets model.onnx, Hugging Face's two JSON files, model.pt for the servers that run
PyTorch, the inputs, and expected.json.
"""

import json
import shutil
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import torch
import torchvision
from onnx import numpy_helper
from PIL import Image
from torch import nn

HERE = Path(__file__).parent
MNIST = HERE / "../../models/mnist"
sys.path.append(str(MNIST))
from train import Frame  # noqa: E402

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def digit_net() -> nn.Module:
    """The bundled network (models/mnist/train.py) with its weights, batch norm folded in."""
    network = [
        Frame(), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 72, 3), nn.ReLU(),
        nn.Conv2d(72, 72, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10),
    ]  # fmt: skip
    model = nn.Sequential(*network)
    graph = onnx.load(str(MNIST / "model.onnx")).graph
    weights = {w.name: torch.from_numpy(numpy_helper.to_array(w).copy()) for w in graph.initializer}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    trained = [weights[name] for node in layers for name in node.input[1:] if name in weights]  # Frame has none
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), trained, strict=True):
            parameter.copy_(weight)
    return model


def photo(width: int, height: int, seed: int) -> Image.Image:
    """Something like a photo: smooth areas, edges, and grain."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 40 + 2, width // 40 + 2, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.BICUBIC), np.int16)
    grain = random.normal(0, 6, (height, width, 1))
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def file(image: Image.Image, **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


@torch.no_grad()
def calibrated(model: nn.Module, batch: torch.Tensor) -> nn.Module:
    """Set batch norm's statistics and the last layer's scale: random weights alone give all classes the same score."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model.train()
    model(torch.cat([batch, batch.flip(2), batch.flip(3), batch.transpose(2, 3)]))
    model.eval()
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    last.weight.mul_(2 / model(batch).std())
    return model


def write(folder: Path, model: nn.Module, size, transform, image: bytes, config: dict, preprocessor: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.eval()
    torch.onnx.export(
        model, (torch.zeros(1, *size),), str(folder / "model.onnx"), opset_version=17, dynamo=False,
        input_names=["pixel_values"], output_names=["logits"],
        dynamic_axes={"pixel_values": {0: "batch"}, "logits": {0: "batch"}},
    )  # fmt: skip
    torch.jit.trace(model, torch.zeros(2, *size)).save(str(folder / "model.pt"))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    (folder / "image").write_bytes(image)
    tensor = transform(Image.open(BytesIO(image)))[None]
    (folder / "tensor").write_bytes(tensor.numpy().tobytes())
    with torch.no_grad():
        scores = model(tensor).softmax(1)[0]
    label = int(scores.argmax())
    (folder / "expected.json").write_text(json.dumps({"label": str(label), "score": float(scores[label])}))
    print(folder.name, label, float(scores[label]))


def main(out: Path) -> None:
    transforms = torchvision.transforms
    mnist = [transforms.Grayscale(), transforms.Resize((28, 28)), transforms.ToTensor(), transforms.Normalize([0.1307], [0.3081])]
    digit = Image.open(MNIST / "sample.png").resize((250, 250), Image.BICUBIC)
    write(
        out / "mnist", digit_net(), (1, 28, 28), transforms.Compose(mnist), file(digit, format="PNG"),
        json.loads((MNIST / "config.json").read_text()), json.loads((MNIST / "preprocessor_config.json").read_text()),
    )  # fmt: skip
    shutil.copy(MNIST / "model.onnx", out / "mnist/model.onnx")
    imagenet = [transforms.Resize((224, 224)), transforms.ToTensor(), transforms.Normalize(**IMAGENET)]
    preprocessor = {
        "do_resize": True, "size": {"height": 224, "width": 224}, "resample": 2,
        "image_mean": IMAGENET["mean"], "image_std": IMAGENET["std"],
    }  # fmt: skip
    jpeg = file(photo(1200, 900, 1), format="JPEG", quality=88)
    for name in ["mobilenet_v3_large", "resnet18", "resnet50"]:
        torch.manual_seed(1)
        model = calibrated(torchvision.models.get_model(name), transforms.Compose(imagenet)(photo(1200, 900, 1))[None])
        write(out / name, model, (3, 224, 224), transforms.Compose(imagenet), jpeg, {}, preprocessor)


main(Path(sys.argv[1]))
