"""The real server on a saved folder, and what must hold of it."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import os
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from PIL import Image

from onnxpress.transforms import translate

ROOT = Path(__file__).parents[2]
#: of the photos: width, height, mode and format
PHOTOS = (
    (500, 375, "RGB", "JPEG"), (375, 501, "RGB", "PNG"), (47, 33, "L", "PNG"), (64, 64, "RGBA", "PNG"),
    (200, 133, "P", "PNG"), (1024, 767, "RGB", "JPEG"),
)  # fmt: skip
MAX_BODY_BYTES = 15_000_000
SQUARE_PHOTOS = ((301, 301, "RGB", "JPEG"), (28, 28, "L", "PNG"), (64, 64, "RGBA", "PNG"))


class Server:
    """`node server.js` on a folder, on a free port."""

    def __init__(self, folder: Path) -> None:
        env = {**os.environ, "PORT": "0", "MODEL_DIR": str(folder), "NO_COLOR": "1"}
        self.process = subprocess.Popen(
            ["node", "server.js"], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        lines = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            lines.append(line)
            if found := re.search(r"serving .* at (http:[^\"]+)", line):
                self.url = found[1]
                return
        raise AssertionError(f"the server did not start: {''.join(lines)}")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.communicate()

    def post(self, path: str, data: bytes, **headers: str) -> Any:
        request = urllib.request.Request(self.url + path, data=data, method="POST", headers=headers)
        try:
            return urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.code} {error.read().decode()}") from error

    def tensor(self, image: bytes) -> np.ndarray:
        response = self.post("/preprocess", image)
        dims = [int(dim) for dim in response.headers["x-dims"].split(",")]
        return np.frombuffer(response.read(), response.headers["x-dtype"]).reshape(dims)

    def predict(self, data: bytes, query: str = "", **headers: str) -> Any:
        return json.load(self.post(f"/predict?top_k=100000{query}", data, **headers))


@functools.cache
def photo(width: int, height: int, mode: str, format: str) -> bytes:
    """Noise on gradients: every pixel counts."""
    noise = np.random.default_rng(width * height).integers(-40, 40, (height, width, 3))
    y, x = np.mgrid[0:height, 0:width]
    levels = np.stack([200 * x // width, 200 * y // height, 90 + 80 * np.sin(x / 9)], axis=2) + noise
    image = Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    image = image.convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(np.clip(levels[:, :, 2], 0, 255).astype(np.uint8)))
    image.save(buffer, format)
    return buffer.getvalue()


def assert_same_tensors(transform: Any, mode: str = "RGB") -> None:
    """The server makes the bits of `transform`, without a server and a model around it.

    Args:
        transform: of torchvision, timm or transformers
        mode: that images are converted to before
    """
    photos = [photo(*kind) for kind in PHOTOS]
    expected = [apply(transform, opened(data, mode)) for data in photos]
    sides = {tensor.shape[2:] for tensor in expected}
    dims = ["batch", expected[0].shape[1], *(sides.pop() if len(sides) == 1 else ("height", "width"))]
    case = {
        "keys": translate(transform).keys,
        "dims": dims,
        "images": [base64.b64encode(data).decode() for data in photos],
    }
    command = ["node", "python/tests/preprocess.mjs"]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(case), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    for kind, tensor, served in zip(PHOTOS, expected, json.loads(done.stdout), strict=True):
        assert served["dims"] == list(tensor.shape), kind
        values = np.frombuffer(base64.b64decode(served["data"]), tensor.dtype).reshape(tensor.shape)
        assert values.tobytes() == tensor.tobytes(), f"{kind}: {difference(values, tensor)}"


def apply(transform: Any, image: Any) -> np.ndarray:
    """The tensor [1, c, h, w] as one makes it in a notebook."""
    if hasattr(transform, "preprocess"):
        return np.asarray(transform(images=image, return_tensors="np")["pixel_values"])
    return np.asarray(transform(image))[None]


def opened(data: bytes, mode: str) -> Any:
    return Image.open(io.BytesIO(data)).convert("RGB").convert(mode)


def assert_served(
    folder: Path,
    transform: Any,
    scores: Callable[[np.ndarray], np.ndarray],
    photos: tuple[tuple[int, int, str, str], ...] = PHOTOS,
    mode: str = "RGB",
) -> None:
    """The server makes the bits of `transform` and, within 1e-5, the numbers of `scores`, alone and in a batch.

    Args:
        transform: of torchvision, timm or transformers
        scores: tensor [n, c, h, w] to scores [n, classes]
        mode: that images are converted to before
    """
    config = json.loads((folder / "config.json").read_text())
    graph = onnx.load(folder / "model.onnx", load_external_data=False).graph
    assert graph.input[0].name == "input" and "logits" in [output.name for output in graph.output]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    with Server(folder) as server:
        tensors = []
        for kind in photos:
            data = photo(*kind)
            expected = apply(transform, opened(data, mode))
            served = server.tensor(data)
            assert served.shape == expected.shape, kind
            assert served.tobytes() == expected.tobytes(), f"{kind}: {difference(served, expected)}"
            tensors.append(expected)
            assert_scores(server.predict(data), scores(expected)[0], config)
        assert_checks(server, folder, config)
        same = [tensor for tensor in tensors if tensor.shape == tensors[0].shape]
        batch = np.concatenate([*same, same[0], same[0]])[: MAX_BODY_BYTES // same[0].nbytes]
        dims = ",".join(map(str, batch.shape))
        results = server.predict(batch.tobytes(), f"&dims={dims}", **{"content-type": "application/octet-stream"})
        for result, expected in zip(results, scores(batch), strict=True):
            assert_scores(result, expected, config)


def assert_checks(server: Server, folder: Path, config: dict[str, Any]) -> None:
    """What check.json says of the server's tensors and scores."""
    check = json.loads((folder / "check.json").read_text())
    assert check["format"] == 1 and check["created_by"]["onnxpress"] == "0.1.0"
    assert len(check["cases"]) in (3, 4)
    for case in check["cases"]:
        image = case["image"]
        data = (folder / image["file"]).read_bytes() if "file" in image else base64.b64decode(image["png"])
        tensor, expected = server.tensor(data), case["tensor"]
        assert (list(tensor.shape), str(tensor.dtype)) == (expected["dims"], expected["dtype"])
        assert hashlib.sha256(tensor.tobytes()).hexdigest() == expected["sha256"], case["name"]
        values = np.frombuffer(base64.b64decode(expected["values"]), "<f4")
        assert np.array_equal(tensor.ravel()[:: expected["stride"]].astype("<f4"), values) and len(values) <= 4096
        assert_scores(server.predict(data), np.array(case["scores"]), config)


def assert_scores(result: Any, expected: np.ndarray, config: dict[str, Any]) -> None:
    """A /predict result; the scores are in class order."""
    labels, threshold = config.get("id2label"), config.get("threshold", 0.5)
    if "prediction" in result:
        assert np.allclose(result["prediction"], expected, rtol=1e-5, atol=1e-5)
        return
    by_label = {prediction["label"]: prediction["score"] for prediction in result["predictions"]}
    is_multi_label = "label" not in result
    assert by_label or is_multi_label
    for number, score in enumerate(expected):
        label = labels[str(number)] if labels else str(number)
        if label in by_label:
            assert abs(by_label[label] - score) <= 1e-5
            assert by_label[label] > threshold or not is_multi_label
        else:
            assert is_multi_label and score <= threshold + 1e-5


def difference(served: np.ndarray, expected: np.ndarray) -> str:
    apart = served != expected
    return f"{apart.sum()} of {apart.size} values differ, by up to {np.abs(served.astype(float) - expected).max():.2g}"
