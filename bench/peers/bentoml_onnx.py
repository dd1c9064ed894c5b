"""BentoML + ONNX Runtime, with adaptive batching."""

import os
from pathlib import Path

import bentoml
import numpy as np
from PIL.Image import Image
from preprocessing import Preprocessor, answer, open_session

FOLDER = Path(os.environ["MODEL"])


@bentoml.service(traffic={"timeout": 60}, workers=1)
class Classifier:
    def __init__(self):
        self.session = open_session(FOLDER)
        self.preprocess = Preprocessor(FOLDER)

    @bentoml.api(batchable=True, max_batch_size=32)
    def predict(self, data: list[Path]) -> list[dict]:
        samples = [np.frombuffer(path.read_bytes(), np.float32).reshape(self.preprocess.shape) for path in data]
        return self.run(samples)

    @bentoml.api(batchable=True, max_batch_size=32)
    def image(self, image: list[Path]) -> list[dict]:
        return self.run([self.preprocess(path.read_bytes()) for path in image])

    def run(self, samples):
        return [answer(row) for row in self.session.run(None, {"pixel_values": np.stack(samples)})[0]]
