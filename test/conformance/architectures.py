"""Serve real architectures with random weights, and compare them with the same pipeline in Python.

    python3 test/conformance/architectures.py     (PyPI: torch, torchvision, transformers 5, timm, pillow<13, onnx)

Each model is exported as users do, into a folder that the libraries' own save functions write. The server is started
on it, and the labels of 20 images, their order and their scores (within 1e-5) are compared.
"""

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import numpy as np
import timm
import timm.data
import torch
import torchvision
import transformers

ROOT = Path(__file__).parents[2]
sys.dont_write_bytecode = True
sys.path.append(str(ROOT / "test/fixtures"))
from make_processor_goldens import encode, load, photo  # noqa: E402

CLASSES = 30
SIZES = [(320, 240), (240, 320), (500, 375), (224, 224), (640, 200), (200, 640), (90, 70), (33, 41), (256, 256), (1000, 700)]


def spread(model):
    """Scale the head's weights until the scores differ: random ones give every class about the same score.

    Batch norm sees noise first: without it, a deep network's activations vanish before the head.
    """
    with torch.no_grad():
        model.train()
        for _ in range(30):
            model(torch.randn(4, 3, model.side, model.side))
    head = [m for m in model.modules() if isinstance(m, torch.nn.Linear)][-1]
    with torch.no_grad():
        head.weight.normal_(0, 1)
    model.eval()
    with torch.no_grad():
        out = model(torch.randn(8, 3, model.side, model.side))
        logits = out if torch.is_tensor(out) else out.logits
        head.weight *= 3 / logits.std()
    return model


def export(model, folder, side):
    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, pixel_values):
            out = self.model(pixel_values)
            return out if torch.is_tensor(out) else out.logits

    torch.onnx.export(
        Logits().eval(), (torch.randn(1, 3, side, side),), str(folder / "model.onnx"), dynamo=False, opset_version=17,
        input_names=["pixel_values"], output_names=["logits"],
        dynamic_axes={"pixel_values": {0: "batch_size"}, "logits": {0: "batch_size"}},
    )


def labels():
    return {i: f"class {i}" for i in range(CLASSES)}


def of_transformers(model, processor, side):
    model.side = side
    spread(model)

    def prepare(folder):
        model.config.id2label = labels()
        model.config.save_pretrained(folder)
        processor.save_pretrained(folder)
        export(model, folder, side)

    return prepare, lambda image: model(**processor(image, return_tensors="pt")).logits


def vit():
    config = transformers.ViTConfig(hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128, num_labels=CLASSES)
    return of_transformers(transformers.ViTForImageClassification(config), transformers.ViTImageProcessorPil(), 224)


def convnext():
    config = transformers.ConvNextConfig(hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 2, 1], num_labels=CLASSES)
    processor = transformers.ConvNextImageProcessorPil(size={"shortest_edge": 224}, crop_pct=0.875)
    return of_transformers(transformers.ConvNextForImageClassification(config), processor, 224)


def resnet():
    config = transformers.ResNetConfig(embedding_size=16, hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 1, 1], num_labels=CLASSES)
    model = transformers.ResNetForImageClassification(config)
    return of_transformers(model, transformers.ConvNextImageProcessorPil(size={"shortest_edge": 224}), 224)


def efficientnet():
    config = transformers.EfficientNetConfig(image_size=128, width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280, num_labels=CLASSES)
    processor = transformers.EfficientNetImageProcessorPil(size={"height": 128, "width": 128}, resample=2)
    return of_transformers(transformers.EfficientNetForImageClassification(config), processor, 128)


def mobilevit():
    config = transformers.MobileViTConfig(hidden_sizes=[48, 64, 80], neck_hidden_sizes=[16, 16, 32, 48, 64, 80, 160], num_labels=CLASSES)
    processor = transformers.MobileViTImageProcessorPil(size={"shortest_edge": 288}, resample=2)
    return of_transformers(transformers.MobileViTForImageClassification(config), processor, 256)


def of_timm(name):
    model = timm.create_model(name, pretrained=False, num_classes=CLASSES)
    resolved = timm.data.resolve_model_data_config(model)
    model.side = resolved["input_size"][-1]
    spread(model)
    transform = timm.data.create_transform(**resolved, is_training=False)

    def prepare(folder):
        config = {"architecture": name, "num_classes": CLASSES, "label_names": list(labels().values()), "pretrained_cfg": model.pretrained_cfg}
        (folder / "config.json").write_text(json.dumps(config, default=str))
        export(model, folder, model.side)

    return prepare, lambda image: model(transform(image)[None])


def of_torchvision():
    model = torchvision.models.resnet18(num_classes=CLASSES)
    model.side = 224
    spread(model)
    transform = torchvision.transforms.Compose([
        torchvision.transforms.Resize(256), torchvision.transforms.CenterCrop(224), torchvision.transforms.ToTensor(),
        torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ])

    def prepare(folder):
        # torchvision's CenterCrop is timm's, and a pixel off transformers' where the margin is odd
        pretrained_cfg = {
            "input_size": [3, 224, 224], "crop_pct": 224 / 256, "interpolation": "bilinear",
            "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        }
        (folder / "config.json").write_text(json.dumps({"id2label": labels(), "pretrained_cfg": pretrained_cfg}))
        export(model, folder, 224)

    return prepare, lambda image: model(transform(image)[None])


MODELS = {
    "transformers ViT": vit, "transformers ConvNeXT": convnext, "transformers ResNet": resnet,
    "transformers EfficientNet": efficientnet, "transformers MobileViT": mobilevit, "torchvision resnet18": of_torchvision,
    "timm mobilenetv3_small_050": lambda: of_timm("mobilenetv3_small_050"),
    "timm efficientvit_b0": lambda: of_timm("efficientvit_b0"), "timm resnet10t": lambda: of_timm("resnet10t"),
}


def serve(folder):
    env = {**os.environ, "PORT": "0", "MODEL_DIR": str(folder)}
    server = subprocess.Popen(["node", "server.js"], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    for line in server.stdout:
        found = re.search(r"serving .* at (http:[^\"]+)", line)
        if found:
            return server, found[1]
        print(line.strip())
    raise SystemExit(f"the server did not start on {folder}")


def compare(url, files, run):
    """The number of results in another order, and the largest difference of a score."""
    largest, swapped = 0.0, 0
    for file in files:
        request = urllib.request.Request(f"{url}/predict?top_k={CLASSES}", data=file, method="POST")
        predictions = json.load(urllib.request.urlopen(request))["predictions"]
        with torch.no_grad():
            scores = run(load(file)).softmax(1)[0].numpy()
        order = [labels()[i] for i in np.argsort(-scores, kind="stable")]
        swapped += [p["label"] for p in predictions] != order
        largest = max(largest, *(abs(p["score"] - scores[int(p["label"].split()[1])]) for p in predictions))
    return swapped, largest


def main():
    torch.manual_seed(0)
    failed = False
    files = [encode(photo(*size), kind) for size in SIZES for kind in ("JPEG", "PNG")]
    for name, make in MODELS.items():
        prepare, run = make()
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder))
            server, url = serve(folder)
            try:
                swapped, largest = compare(url, files, run)
            finally:
                server.terminate()
            code = server.wait()
            wrong = swapped > 0 or largest > 1e-5 or code != 0
            failed |= wrong
            print(f"{'WRONG' if wrong else 'right'}  {name}: {len(files)} images, {swapped} orders differ, largest difference {largest:.1e}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
