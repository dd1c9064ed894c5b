"""Hugging Face's client, with the server as its inference endpoint.

    pip install -r requirements.txt
    python hugging_face.py
"""

from huggingface_hub import InferenceClient
from running_server import ROOT, serve

SAMPLE = ROOT / "models/mnist/sample.png"


def main():
    with serve() as url:
        client = InferenceClient(model=url)
        by_path = client.image_classification(str(SAMPLE))
        assert [len(by_path), by_path[0].label] == [5, "2"], by_path
        by_bytes = client.image_classification(SAMPLE.read_bytes(), top_k=2)
        assert by_bytes == by_path[:2], by_bytes
        sigmoid = client.image_classification(str(SAMPLE), top_k=10, function_to_apply="sigmoid")
        assert len(sigmoid) == 10 and sum(prediction.score for prediction in sigmoid) > 1.1, sigmoid
    print("huggingface_hub: image_classification OK")


main()
