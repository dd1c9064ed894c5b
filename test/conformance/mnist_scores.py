"""PyTorch's scores of the 10,000 MNIST test digits: the truth for mnist.ts.

    python3 mnist_scores.py FOLDER_WITH_IDX_FILES OUT_FILE     (torch, onnx, numpy)

OUT_FILE gets float32 [10000, 10], softmax scores. The network runs in PyTorch; only its weights come from
model.onnx.
"""

import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[2]
sys.dont_write_bytecode = True
sys.path += [str(ROOT / "test/fixtures"), str(ROOT / "models/mnist")]
from make_scores import MEAN, STD, network  # noqa: E402
from train import read_idx  # noqa: E402

data, out = Path(sys.argv[1]), Path(sys.argv[2])
images = read_idx(data, "t10k-images-idx3-ubyte").numpy().reshape(-1, 1, 28, 28)
labels = read_idx(data, "t10k-labels-idx1-ubyte").numpy()
batch = (images.astype(np.float32) / np.float32(255) - MEAN) / STD
with torch.no_grad():
    scores = network(ROOT / "models/mnist/model.onnx")(torch.from_numpy(batch)).softmax(1).numpy()
out.write_bytes(scores.astype("<f4").tobytes())
print(f"torch {torch.__version__}: accuracy {100 * (scores.argmax(1) == labels).mean():.2f} %")
