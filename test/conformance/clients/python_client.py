"""Classify an image with openapi-python-client's client, and print the label."""

import sys
from pathlib import Path

from onnxpress_client import Client
from onnxpress_client.api.onnxpress import post_predict
from onnxpress_client.models import ImageForm
from onnxpress_client.types import File

url, file = sys.argv[1:]
with Path(file).open("rb") as image:
    body = ImageForm(image=File(payload=image, file_name="digit.png"))
    result = post_predict.sync(client=Client(base_url=url), body=body, top_k=2)
print("openapi-python-client", result.label, len(result.predictions))
