"""TorchServe's handler of a TorchScript model: the body is an image or a tensor's bytes."""

import json
from pathlib import Path

import numpy as np
import torch
from preprocessing import Preprocessor
from ts.torch_handler.base_handler import BaseHandler


class Classifier(BaseHandler):
    def initialize(self, context):
        super().initialize(context)
        self.transform = Preprocessor(Path(context.system_properties["model_dir"]))

    def preprocess(self, data):
        return torch.stack([torch.from_numpy(self.sample(bytes(row.get("body") or row["data"]))) for row in data])

    def sample(self, body):
        if len(body) == 4 * int(np.prod(self.transform.shape)):
            return np.frombuffer(body, np.float32).reshape(self.transform.shape).copy()
        return self.transform(body)

    def postprocess(self, logits):
        best = logits.softmax(1).max(1)
        return [{"label": str(int(k)), "score": float(s)} for s, k in zip(best.values, best.indices)]
