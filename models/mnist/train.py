"""Train the bundled digit classifier on MNIST and export it to model.onnx.

    python3 train.py FOLDER_WITH_THE_FOUR_IDX_FILES [--epochs 30] [--out .]

Needs PyTorch (1.13, as Debian ships it, or newer) and NumPy. The IDX files may be gzipped.

model.onnx takes the normalized tensor float32 [batch_size, 1, 28, 28] and returns logits float32 [batch_size, 10].
Its first step, Frame, finds the digit and scales it to one size, as MNIST's authors did. Small drawings, drawings
in a corner and dark ink on light paper then reach the convolutions like MNIST's digits.
The training digits are augmented for the rest: angles, thin and thick strokes, the blur of small drawings, low
contrast, noise. Images without a digit are trained to give every digit the same score.
"""

import argparse
import gzip
import hashlib
import inspect
import json
import math
import struct
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

SIDE = 28  # pixels of an image
MEAN, STD = 0.1307, 0.3081  # of the training pixels in 0..1; as in preprocessor_config.json
THREADS = 2  # another number rounds differently, and gives other weights
EMPTY_SHARE = 0.06  # share of training images without a digit

MIN_CONTRAST = 0.1  # between ink and paper, in 0..1: fainter ink is not amplified
INK = 0.3996  # share of the strongest contrast above which a pixel is ink. Not 0.4, since rounding would decide about
# 8-bit levels that have exactly this ratio, such as 102 of 255
FRAME_SIDE, DIGIT_SIDE = 24, 20  # pixels of the framed image, and of the digit's longer side in it
SMALLEST_DIGIT = 4  # pixels: smaller digits are not enlarged further


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


# ---- the network


class Frame(nn.Module):
    """Cut out the digit and scale its longer side to 20 pixels, light on dark, in the middle of 24 x 24.

    It has no weights. The paper is the mean of the image's border. Ink is any difference from it, lighter or darker.
    The digit extends to the outermost ink of at least 0.4 of the strongest contrast.
    """

    def __init__(self) -> None:
        super().__init__()
        border = torch.ones(1, 1, SIDE, SIDE)
        border[:, :, 1:-1, 1:-1] = 0
        pixel = torch.arange(SIDE)
        out = torch.arange(FRAME_SIDE) + 0.5 - FRAME_SIDE / 2
        constants = {
            "border": border / border.sum(),
            # distance of a pixel's far edge from the left and from the right (from the top and the bottom)
            "reach": torch.stack([pixel + 1, SIDE - pixel]).float(),
            "source": (pixel + 0.5).view(1, 1, 1, SIDE),
            "target": (out / DIGIT_SIDE).view(1, 1, FRAME_SIDE, 1),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        paper = F.conv2d(pixel_values, self.border)
        ink = (pixel_values - paper).abs()
        ink = ink / ink.amax((2, 3), keepdim=True).clamp(min=MIN_CONTRAST / STD)

        is_ink = (torch.stack([ink.amax(2), ink.amax(3)], 1) > INK).float()  # [n, columns and rows, 1, 28]
        end, start = (is_ink * self.reach).amax(3, keepdim=True).split(1, 2)  # start counts from the far side
        middle = (end - start + SIDE) / 2
        size = (end + start - SIDE).amax(1, keepdim=True).clamp(min=SMALLEST_DIGIT)

        # bilinear interpolation as two matrix products: weights [n, columns and rows, 24, 28]
        position = middle + self.target * size
        columns, rows = F.relu(1 - (position - self.source).abs()).split(1, 1)
        return rows @ ink @ columns.transpose(2, 3)


def block(channels_in: int, channels_out: int, padding: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=padding, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU()
    )


class DigitNet(nn.Module):
    """Frame and five small convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.frame = Frame()
        self.features = nn.Sequential(
            block(1, 16, padding=1),
            nn.MaxPool2d(2),  # 24 -> 12
            block(16, 32, padding=1),
            nn.MaxPool2d(2),  # 12 -> 6
            block(32, 64, padding=1),
            block(64, 72, padding=0),  # 6 -> 4
            block(72, 72, padding=0),  # 4 -> 2
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(72 * 2 * 2, 10))

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(self.frame(pixel_values)))


def multiply_adds(model: nn.Module) -> int:
    """Multiply-adds of the convolutions and linear layers for one digit, counted on a real pass, and those of Frame."""
    total = SIDE * SIDE + FRAME_SIDE * SIDE * (SIDE + FRAME_SIDE)

    def count(module, _, output):
        nonlocal total
        total += output[0].numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    model.eval()(torch.zeros(1, 1, SIDE, SIDE))
    for hook in hooks:
        hook.remove()
    return total


# ---- the training images: [n, 1, 28, 28] in 0..1


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(n, generator=generator) * (high - low) + low


def affine(images, scale_x, scale_y, degrees, shear, shift_x, shift_y) -> torch.Tensor:
    """Scale, turn (degrees), shear and move (pixels) images; black fills the edges."""
    angle = degrees * math.pi / 180
    cos, sin = torch.cos(angle), torch.sin(angle)
    # grid_sample takes the inverse map, from output to input coordinates in -1..1
    a, b = cos / scale_x, (sin + shear * cos) / scale_x
    c, d = -sin / scale_y, (cos - shear * sin) / scale_y
    tx, ty = -shift_x / 14, -shift_y / 14
    theta = torch.stack(
        [torch.stack([a, b, a * tx + b * ty], 1), torch.stack([c, d, c * tx + d * ty], 1)], 1
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False, padding_mode="zeros")


def place(images, scale, shift_x, shift_y) -> torch.Tensor:
    """Scale images about the middle and move them (pixels) by Pillow's bilinear filter, which blurs as it shrinks."""
    middle = SIDE / 2
    pixel = torch.arange(SIDE) + 0.5
    support = scale.clamp(max=1).view(-1, 1, 1)

    def weights(shift):  # [n, 28, 28]: of each source pixel in each output pixel
        source = (pixel - middle - shift.view(-1, 1)) / scale.view(-1, 1) + middle
        distance = (source.unsqueeze(2) - pixel).abs()
        return F.relu(1 - distance * support) * support

    return weights(shift_y).unsqueeze(1) @ images @ weights(shift_x).transpose(1, 2).unsqueeze(1)


def change_strokes(images: torch.Tensor, scale: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """Thicken or thin some strokes, more often of digits to be shrunk: a pen does not shrink with the drawing."""
    images = images.clone()
    kind, is_small = torch.rand(len(images), generator=g), scale < 0.7

    def change(chosen: torch.Tensor, changed) -> None:
        old = images[chosen]
        images[chosen] = old + (changed(old) - old) * torch.rand(len(old), 1, 1, 1, generator=g)

    change(kind < 0.1, lambda old: -F.max_pool2d(F.pad(-old, (0, 1, 0, 1)), 2, 1))
    change((kind > 0.1) & (kind < torch.where(is_small, 0.4, 0.2)), lambda old: F.max_pool2d(old, 3, 1, 1))
    change((kind > 0.65) & is_small, lambda old: F.max_pool2d(old, 5, 1, 2))
    return images


def without_digit(n: int, g: torch.Generator) -> torch.Tensor:
    """Blank images, noise from fine to coarse and from dense to sparse, and one to three dots."""
    noise = torch.rand(n, 1, SIDE, SIDE, generator=g) ** torch.exp(uniform(n, -2, 4, g)).view(n, 1, 1, 1)
    coarse = F.interpolate(noise[:, :, :7, :7], size=SIDE, mode="bilinear", align_corners=False)
    gauss = 0.5 + 0.3 * torch.randn(n, 1, SIDE, SIDE, generator=g)
    at = torch.arange(SIDE) + 0.5
    dots = torch.zeros(n, 1, SIDE, SIDE)
    for count in range(1, 4):
        x, y = uniform(n, 1, 27, g).view(n, 1, 1), uniform(n, 1, 27, g).view(n, 1, 1)
        distance = torch.hypot(at.view(1, 1, SIDE) - x, at.view(1, SIDE, 1) - y).unsqueeze(1)
        radius = uniform(n, 0.4, 5, g).view(n, 1, 1, 1)
        shown = (torch.rand(n, generator=g) < 1 / count).view(n, 1, 1, 1)
        dots = torch.maximum(dots, (radius + 0.5 - distance).clamp(0, 1) * shown)
    kinds = torch.stack([noise, coarse, gauss, dots, dots, torch.zeros_like(dots)])
    return kinds[torch.randint(len(kinds), (n,), generator=g), torch.arange(n)].clamp(0, 1)


def light(images: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """Change contrast, invert, and add noise."""
    n = len(images)

    def chosen(probability: float) -> torch.Tensor:
        return (torch.rand(n, generator=g) < probability).view(n, 1, 1, 1)

    ink, paper = uniform(n, 0.4, 1, g).view(n, 1, 1, 1), uniform(n, 0, 0.3, g).view(n, 1, 1, 1)
    images = torch.where(chosen(0.15), paper + images * (ink - paper), images)
    images = torch.where(chosen(0.5), 1 - images, images)
    noise = torch.randn(images.shape, generator=g) * uniform(n, 0, 0.1, g).view(n, 1, 1, 1)
    return torch.where(chosen(0.15), (images + noise).clamp(0, 1), images)


def augment(images: torch.Tensor, g: torch.Generator) -> torch.Tensor:
    """Make a training batch of white-on-black digits look like people's drawings."""
    n = len(images)
    small = torch.rand(n, generator=g) < 0.12  # of any size, anywhere; the others keep about MNIST's size and place
    scale = torch.where(small, torch.exp(uniform(n, math.log(0.2), 0, g)), uniform(n, 0.8, 1.2, g))
    room = torch.where(small, SIDE / 2 * (1 - scale * 0.7), torch.tensor(4.0))  # a digit fills 0.7 of its image
    shift_x, shift_y = uniform(n, -1, 1, g) * room, uniform(n, -1, 1, g) * room
    images = change_strokes(images, scale, g)

    stretch, zero = uniform(n, 0.92, 1.08, g), torch.zeros(n)
    zoom = torch.where(small, torch.tensor(1.0), scale)
    images = affine(
        images, zoom * stretch, zoom / stretch, uniform(n, -15, 15, g), uniform(n, -0.2, 0.2, g),
        torch.where(small, zero, shift_x), torch.where(small, zero, shift_y),
    )
    images[small] = place(images[small], scale[small], shift_x[small], shift_y[small])
    return light(images, g)


# ---- the figures


@torch.no_grad()
def scores_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Scores [n, 10] of images [n, 1, 28, 28] in 0..1."""
    model.eval()
    return torch.cat([model((x - MEAN) / STD).softmax(1) for x in images.split(1000)])


def calibration_error(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """Expected calibration error, 15 bins: the mean difference between top score and accuracy."""
    top, predicted = scores.max(1)
    correct = (predicted == labels).float()
    bins = (top * 15).long().clamp(max=14)
    gaps = [(top[bins == i] - correct[bins == i]).sum().abs() for i in range(15)]
    return (sum(gaps) / len(labels)).item()


def evaluate(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> dict:
    """The figures of README.md, all in percent, on the test digits."""
    n = len(images)
    g = torch.Generator().manual_seed(0)

    def accuracy(changed: torch.Tensor) -> float:
        return 100 * (scores_of(model, changed).argmax(1) == labels).float().mean().item()

    def moved(seed: int) -> float:
        g = torch.Generator().manual_seed(seed)
        scale, still = uniform(n, 0.8, 1.2, g), torch.zeros(n)
        angle, shift_x, shift_y = uniform(n, -15, 15, g), uniform(n, -4, 4, g), uniform(n, -4, 4, g)
        return accuracy(affine(images, scale, scale, angle, still, shift_x, shift_y))

    def shrunk(scale: float, x: torch.Tensor, y: torch.Tensor) -> float:
        """At this scale and place: x and y run from -1 (left, top) to 1."""
        room = SIDE / 2 * (1 - scale)
        return accuracy(place(images, torch.full((n,), scale), x * room, y * room))

    result = {
        "as they are": accuracy(images),
        "inverted": accuracy(1 - images),
        "scaled 0.8 to 1.2, turned by up to 15 degrees, moved by up to 4 pixels": sum(map(moved, range(3))) / 3,
    }
    for scale in (0.5, 0.35, 0.25, 0.2):
        result[f"scaled {scale}, anywhere"] = shrunk(scale, uniform(n, -1, 1, g), uniform(n, -1, 1, g))
    one = torch.ones(n)
    for corner, x, y in (("top left", -1, -1), ("top right", 1, -1), ("bottom left", -1, 1), ("bottom right", 1, 1)):
        result[f"scaled 0.5, {corner}"] = shrunk(0.5, x * one, y * one)
    result["calibration error, as they are"] = 100 * calibration_error(scores_of(model, images), labels)
    result["mean top score without a digit"] = 100 * scores_of(model, without_digit(n, g)).amax(1).mean().item()
    return {name: round(value, 2) for name, value in result.items()}


def export(model: nn.Module, path: Path) -> None:
    """Write model.onnx with a dynamic batch axis, batch norm folded into the convolutions."""
    model.eval()
    # PyTorch >= 2.5 also has an exporter that needs onnxscript, which this model does not need
    legacy = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    torch.onnx.export(
        model, (torch.zeros(1, 1, SIDE, SIDE),), str(path), opset_version=17 if not legacy else 18, **legacy,
        input_names=["pixel_values"], output_names=["logits"],
        dynamic_axes={"pixel_values": {0: "batch_size"}, "logits": {0: "batch_size"}},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the four IDX files")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write model.onnx to")
    args = parser.parse_args()

    torch.set_num_threads(THREADS)
    torch.set_flush_denormal(True)
    torch.manual_seed(args.seed)
    g = torch.Generator().manual_seed(args.seed)

    def load(split: str):
        images = read_idx(args.data, f"{split}-images-idx3-ubyte").unsqueeze(1).float() / 255
        return images, read_idx(args.data, f"{split}-labels-idx1-ubyte").long()

    train_images, train_labels = load("train")
    test_images, test_labels = load("t10k")

    model = DigitNet().to(memory_format=torch.channels_last)  # trains a quarter faster
    print(f"{sum(p.numel() for p in model.parameters()):,} weights, {multiply_adds(model):,} multiply-adds per digit")
    steps = math.ceil(len(train_labels) / args.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=args.epochs * steps, pct_start=0.2)

    for epoch in range(1, args.epochs + 1):
        model.train()
        start, total_loss = time.process_time(), 0.0
        for index in torch.randperm(len(train_labels), generator=g).split(args.batch_size):
            empty = round(len(index) * EMPTY_SHARE)
            batch = torch.cat([augment(train_images[index], g), light(without_digit(empty, g), g)])
            wanted = torch.cat([F.one_hot(train_labels[index], 10).float(), torch.full((empty, 10), 0.1)])
            loss = F.cross_entropy(model((batch - MEAN) / STD), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total_loss += loss.item() * len(index)
        print(
            f"epoch {epoch}/{args.epochs}: loss {total_loss / len(train_labels):.4f}, "
            f"{time.process_time() - start:.0f} s of processor time", flush=True,
        )

    path = args.out / "model.onnx"
    export(model, path)
    print(json.dumps(evaluate(model, test_images, test_labels), indent=2))
    torch.save(model.state_dict(), args.out / "model.pt")
    print(f"{path}: {path.stat().st_size:,} bytes, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")
    print(f"{time.process_time() / 60:.0f} minutes of processor time")


if __name__ == "__main__":
    main()
