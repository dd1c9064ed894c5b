"""FastAPI + uvicorn + ONNX Runtime: the handlers are plain functions, which Starlette runs in its thread pool."""

import json
import os
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import FastAPI, File, Form
from preprocessing import Preprocessor, answer, open_session

FOLDER = Path(os.environ["MODEL"])
session = open_session(FOLDER)
preprocess = Preprocessor(FOLDER)
app = FastAPI()


@app.post("/predict")
def predict(data: Annotated[bytes, File()], metadata: Annotated[str, Form()]):
    dims = json.loads(metadata)["dims"]
    return answer(run(np.frombuffer(data, np.float32).reshape(dims)))


@app.post("/image")
def image(image: Annotated[bytes, File()]):
    return answer(run(preprocess(image)))


def run(sample):
    return session.run(None, {"pixel_values": sample[None]})[0][0]
