"""Flask + PyTorch, with the book's form: a tensor's bytes and their dims, or an image."""

import json
import logging
import os
from io import BytesIO
from pathlib import Path

import torch
from flask import Flask, jsonify, request
from PIL import Image
from torchvision import transforms

FOLDER = Path(os.environ["MODEL"])
config = json.loads((FOLDER / "preprocessor_config.json").read_text())
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
model = torch.jit.load(str(FOLDER / "model.pt"), map_location=device).eval()
transform = transforms.Compose([
    *([transforms.Grayscale()] if len(config["image_mean"]) == 1 else []),
    transforms.Resize((config["size"]["height"], config["size"]["width"])),
    transforms.ToTensor(),
    transforms.Normalize(config["image_mean"], config["image_std"]),
])

app = Flask(__name__)
logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line per request


@app.route("/predict", methods=["POST"])
def predict():
    if "image" in request.files:
        batch = transform(Image.open(BytesIO(request.files["image"].read())).convert("RGB"))[None]
    else:
        dims = json.loads(request.form["metadata"])["dims"]
        batch = torch.frombuffer(bytearray(request.files["data"].read()), dtype=torch.float32).reshape([1, *dims])
    with torch.no_grad():
        scores = model(batch.to(device)).softmax(1)[0]
    label = int(scores.argmax())
    return jsonify(label=str(label), score=float(scores[label]))


if __name__ == "__main__":
    app.run(port=int(os.environ["PORT"]), threaded=True)
