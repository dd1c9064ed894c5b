"""LitServe + ONNX Runtime, with its batching."""

import os
from pathlib import Path

import litserve as ls
import numpy as np
from fastapi import Request
from preprocessing import Preprocessor, answer, open_session

FOLDER = Path(os.environ["MODEL"])


class Classifier(ls.LitAPI):
    def setup(self, device):
        self.session = open_session(FOLDER)
        self.preprocess = Preprocessor(FOLDER)

    def decode_request(self, request: Request):
        if "image" in request:
            return self.preprocess(request["image"].file.read())
        return np.frombuffer(request["data"].file.read(), np.float32).reshape(self.preprocess.shape)

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, batch):
        return self.session.run(None, {"pixel_values": batch})[0]

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return answer(output)


if __name__ == "__main__":
    batch, workers = int(os.environ.get("BATCH", 32)), int(os.environ.get("WORKERS", 1))
    api = Classifier(max_batch_size=batch, batch_timeout=0.001)
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", generate_client_file=False)
