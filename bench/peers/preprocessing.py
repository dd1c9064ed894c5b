"""The Python servers' preprocessing in Pillow and NumPy: the same steps as torchvision's transforms."""

import json
import os
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image


class Preprocessor:
    def __init__(self, folder: Path):
        config = json.loads((folder / "preprocessor_config.json").read_text())
        self.size = (config["size"]["width"], config["size"]["height"])
        self.mean = np.float32(config["image_mean"])[:, None, None]
        self.std = np.float32(config["image_std"])[:, None, None]

    @property
    def shape(self):
        """of one sample: channels, height, width"""
        return (len(self.mean), *reversed(self.size))

    def __call__(self, data: bytes) -> np.ndarray:
        """An image file as float32 [channels, height, width]."""
        image = Image.open(BytesIO(data)).convert("L" if len(self.mean) == 1 else "RGB")
        pixels = np.asarray(image.resize(self.size, Image.BILINEAR))
        planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        return (planes.astype(np.float32) / np.float32(255) - self.mean) / self.std


def answer(logits: np.ndarray) -> dict:
    powers = np.exp(logits - logits.max())
    label = int(logits.argmax())
    return {"label": str(label), "score": float(powers[label] / powers.sum())}


def open_session(folder: Path):
    """ONNX Runtime with THREADS threads: one if several processes share the cores."""
    import onnxruntime  # TorchServe's environment lacks it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("THREADS", 0))
    path = str(folder / "model.onnx")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
