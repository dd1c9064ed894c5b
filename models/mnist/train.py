"""Train the bundled digit classifier on MNIST and export it to model.onnx.

    python3 train.py FOLDER_WITH_THE_FOUR_IDX_FILES [--epochs 90] [--out .]

Needs PyTorch (1.13, as Debian ships it, or newer) and NumPy. The IDX files may be gzipped.

The digits are augmented for what a drawing or a photo has and MNIST has not: other sizes,
angles and margins, thin and thick strokes, dark ink on light paper, low contrast and noise.
The accuracy of each kind is printed at the end; model.onnx takes the normalised tensor
float32 [batch_size, 1, 28, 28] and gives logits float32 [batch_size, 10].
"""

import argparse
import gzip
import hashlib
import inspect
import json
import math
import os
import struct
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

MEAN, STD = 0.1307, 0.3081  # of the training pixels in 0..1; preprocessor_config.json says the same


def read_idx(folder: Path, name: str) -> torch.Tensor:
    """Read one IDX file (uint8), gzipped or not: images [n, 28, 28] or labels [n]."""
    path = folder / name
    opener = open
    if not path.exists():
        path, opener = folder / f"{name}.gz", gzip.open
    with opener(path, "rb") as file:
        _, _, dtype, rank = struct.unpack(">4B", file.read(4))
        if dtype != 8:
            raise SystemExit(f"{path}: expected unsigned bytes (type 8), found type {dtype}")
        shape = struct.unpack(f">{rank}I", file.read(4 * rank))
        return torch.from_numpy(np.frombuffer(file.read(), np.uint8).reshape(shape).copy())


def block(channels_in: int, channels_out: int, **conv) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, bias=False, **conv), nn.BatchNorm2d(channels_out), nn.ReLU()
    )


class DigitNet(nn.Module):
    """Five small convolutions: 96,000 weights, 2.9 million multiply-adds a digit."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            block(1, 16, kernel_size=3, padding=1),
            nn.MaxPool2d(2),  # 28 -> 14
            block(16, 32, kernel_size=3, padding=1),
            nn.MaxPool2d(2),  # 14 -> 7
            block(32, 56, kernel_size=3, padding=1),
            block(56, 64, kernel_size=3),  # 7 -> 5
            block(64, 64, kernel_size=3),  # 5 -> 3
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(64 * 3 * 3, 10))

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(pixel_values))


def multiply_adds(model: nn.Module) -> int:
    """Multiply-adds of the convolutions and linear layers for one digit, counted on a real pass."""
    total = 0

    def count(module, _, output):
        nonlocal total
        weights_per_output = module.weight[0].numel()
        total += output[0].numel() * weights_per_output

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    model(torch.zeros(1, 1, 28, 28))
    for hook in hooks:
        hook.remove()
    return total


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(n, generator=generator) * (high - low) + low


def affine(images, scale_x, scale_y, degrees, shear, shift_x, shift_y) -> torch.Tensor:
    """Scale, turn (degrees), shear and move (pixels) images [n, 1, 28, 28] in 0..1; black comes in at the edges."""
    angle = degrees * math.pi / 180
    cos, sin = torch.cos(angle), torch.sin(angle)
    # grid_sample wants the inverse map, from output to input coordinates in -1..1
    a, b = cos / scale_x, (sin + shear * cos) / scale_x
    c, d = -sin / scale_y, (cos - shear * sin) / scale_y
    tx, ty = -shift_x / 14, -shift_y / 14
    theta = torch.stack(
        [torch.stack([a, b, a * tx + b * ty], 1), torch.stack([c, d, c * tx + d * ty], 1)], 1
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False, padding_mode="zeros")


def augment(images: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """Make a training batch of white-on-black digits [n, 1, 28, 28] in 0..1 look like what people send."""
    n = len(images)

    def chosen(probability: float) -> torch.Tensor:
        return (torch.rand(n, generator=g) < probability).view(n, 1, 1, 1)

    # stroke width: grey dilation or erosion (3x3, 2x2), blended by a random amount
    amount = uniform(n, 0, 1, g).view(n, 1, 1, 1)
    thick = images + (F.max_pool2d(images, 3, 1, 1) - images) * amount
    eroded = -F.max_pool2d(F.pad(-images, (0, 1, 0, 1)), 2, 1)
    thin = images + (eroded - images) * amount * 0.6
    kind = torch.rand(n, generator=g).view(n, 1, 1, 1)
    images = torch.where(kind < 0.1, thick, torch.where(kind < 0.2, thin, images))

    # place: most digits near MNIST's own frame, some with the margins of a drawing or a photo
    scale = uniform(n, 0.8, 1.2, g)
    wide = torch.rand(n, generator=g) < 0.1
    scale = torch.where(wide, uniform(n, 0.5, 1.3, g), scale)
    stretch = uniform(n, 0.93, 1.07, g)
    images = affine(
        images, scale * stretch, scale / stretch, uniform(n, -15, 15, g), uniform(n, -0.15, 0.15, g),
        uniform(n, -4, 4, g), uniform(n, -4, 4, g),
    )

    # light: contrast, inversion, noise
    ink, paper = uniform(n, 0.5, 1, g), uniform(n, 0, 0.3, g)
    dim = paper.view(n, 1, 1, 1) + images * (ink - paper).view(n, 1, 1, 1)
    images = torch.where(chosen(0.15), dim, images)
    images = torch.where(chosen(0.5), 1 - images, images)
    noise = torch.randn(images.shape, generator=g) * uniform(n, 0, 0.1, g).view(n, 1, 1, 1)
    return torch.where(chosen(0.15), (images + noise).clamp(0, 1), images)


@torch.no_grad()
def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Percent of images [n, 1, 28, 28] in 0..1 that get their label."""
    model.eval()
    right = sum(
        (model((x - MEAN) / STD).argmax(1) == y).sum().item()
        for x, y in zip(images.split(1000), labels.split(1000))
    )
    return 100 * right / len(labels)


def evaluate(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> dict:
    """Accuracy in percent on the test digits: plain, inverted, and moved about (the mean of three draws)."""
    moved = []
    for seed in range(3):
        g = torch.Generator().manual_seed(seed)
        n, scale = len(images), uniform(len(images), 0.8, 1.2, g)
        turned = affine(
            images, scale, scale, uniform(n, -15, 15, g), torch.zeros(n), uniform(n, -4, 4, g), uniform(n, -4, 4, g)
        )
        moved.append(accuracy(model, turned, labels))
    return {
        "plain": accuracy(model, images, labels),
        "inverted": accuracy(model, 1 - images, labels),
        "scaled 0.8-1.2, turned by up to 15 degrees, moved by up to 4 pixels": sum(moved) / 3,
    }


def export(model: nn.Module, path: Path) -> None:
    """Write model.onnx with a dynamic batch axis, batch norm folded into the convolutions."""
    model.eval()
    # PyTorch >= 2.5 can export by another way that needs onnxscript; this model needs nothing of it
    legacy = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    torch.onnx.export(
        model, (torch.zeros(1, 1, 28, 28),), str(path), opset_version=17 if not legacy else 18, **legacy,
        input_names=["pixel_values"], output_names=["logits"],
        dynamic_axes={"pixel_values": {0: "batch_size"}, "logits": {0: "batch_size"}},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the four IDX files")
    parser.add_argument("--epochs", type=int, default=90)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write model.onnx to")
    args = parser.parse_args()

    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)

    def load(split: str):
        images = read_idx(args.data, f"{split}-images-idx3-ubyte").unsqueeze(1).float() / 255
        return images, read_idx(args.data, f"{split}-labels-idx1-ubyte").long()

    train_images, train_labels = load("train")
    test_images, test_labels = load("t10k")

    model = DigitNet()
    print(f"{sum(p.numel() for p in model.parameters()):,} weights, {multiply_adds(model):,} multiply-adds a digit")
    steps = math.ceil(len(train_labels) / args.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=args.epochs * steps, pct_start=0.2)

    for epoch in range(1, args.epochs + 1):
        model.train()
        start, total_loss = time.time(), 0.0
        for index in torch.randperm(len(train_labels), generator=generator).split(args.batch_size):
            batch = (augment(train_images[index], generator) - MEAN) / STD
            loss = F.cross_entropy(model(batch), train_labels[index], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total_loss += loss.item() * len(index)
        plain, inverted = (accuracy(model, x, test_labels) for x in (test_images, 1 - test_images))
        print(
            f"epoch {epoch}/{args.epochs}: loss {total_loss / len(train_labels):.4f}, test {plain:.2f} % plain, "
            f"{inverted:.2f} % inverted, {time.time() - start:.0f} s", flush=True,
        )

    path = args.out / "model.onnx"
    export(model, path)
    result = evaluate(model, test_images, test_labels)
    print(json.dumps({k: round(v, 2) for k, v in result.items()}, indent=2))
    torch.save(model.state_dict(), args.out / "model.pt")
    print(f"{path}: {path.stat().st_size:,} bytes, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
