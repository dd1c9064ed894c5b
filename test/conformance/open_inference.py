"""Triton's Python client: metadata, JSON and binary tensors, batches, classes, errors.

    pip install -r requirements.txt
    python3 open_inference.py          (from anywhere; it starts the servers itself)

The responses, as the client decodes them, are compared with /predict and with NumPy.
"""

import asyncio
import json
import os
import urllib.request

import gevent.ssl  # noqa: F401 (the client's asynchronous calls run in gevent)
import numpy as np
import tritonclient.http as triton
from running_server import serve
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

REQUESTS = int(os.environ.get("REQUESTS", 1000))


def connect(url):
    return triton.InferenceServerClient(url.removeprefix("http://"), concurrency=64)


def text(values):
    """BYTES as str; the client returns str or bytes."""
    return np.vectorize(lambda value: value.decode() if isinstance(value, bytes) else value, otypes=[object])(values)


def ask(client, model, arrays, binary, outputs=None, classes=0, **options):
    inputs = []
    for name, array in arrays.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array, binary_data=binary)
        inputs.append(tensor)
    wanted = [triton.InferRequestedOutput(name, binary_data=binary, class_count=classes) for name in outputs or []]
    return client.infer(model, inputs, outputs=wanted or None, **options)


def predict(url, digits):
    """The scores of /predict, in class order, for float32 [n, 1, 28, 28]."""
    dims = ",".join(map(str, digits.shape))
    request = urllib.request.Request(f"{url}/predict?dims={dims}&top_k=10", digits.tobytes(), method="POST")
    with urllib.request.urlopen(request) as response:
        answers = json.load(response)
    answers = answers if isinstance(answers, list) else [answers]
    by_class = [sorted(answer["predictions"], key=lambda p: int(p["label"])) for answer in answers]
    return np.array([[p["score"] for p in row] for row in by_class], np.float32)


def softmax(logits):
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def refused(status, call, *words):
    try:
        call()
    except InferenceServerException as error:
        assert error.status() == str(status), (error.status(), error.message())
        assert all(word in error.message() for word in words), error.message()
        return
    raise AssertionError(f"accepted, expected {status}")


def check_digits():
    digits = np.random.RandomState(1).rand(48, 1, 28, 28).astype(np.float32)
    with serve(MODEL_NAME="digits") as url, connect(url) as client:
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready("digits") and client.is_model_ready("digits", "1")
        assert client.get_server_metadata()["name"] == "onnxpress"
        metadata = client.get_model_metadata("digits", "1")
        assert metadata["inputs"] == [{"name": "pixel_values", "datatype": "FP32", "shape": [-1, 1, 28, 28]}]

        truth = predict(url, digits)
        for binary in (True, False):
            result = ask(client, "digits", {"pixel_values": digits}, binary, ["logits"], request_id="batch")
            assert result.get_response()["id"] == "batch"
            assert np.abs(softmax(result.as_numpy("logits")) - truth).max() < 1e-6
            alone = [ask(client, "digits", {"pixel_values": d[None]}, binary).as_numpy("logits") for d in digits[:5]]
            assert np.abs(softmax(np.concatenate(alone)) - truth[:5]).max() < 1e-6
            best = text(ask(client, "digits", {"pixel_values": digits}, binary, ["logits"], classes=3).as_numpy("logits"))
            assert best.shape == (48, 3)
            classes = np.vectorize(lambda text: int(text.split(":")[1]))(best)
            assert (classes == np.argsort(-truth, 1, kind="stable")[:, :3]).all()
        for algorithm in ("gzip", "deflate"):
            result = ask(client, "digits", {"pixel_values": digits}, True, request_compression_algorithm=algorithm,
                         response_compression_algorithm=algorithm)
            assert np.abs(softmax(result.as_numpy("logits")) - truth).max() < 1e-6

        one = {"pixel_values": digits[:1]}
        refused(404, lambda: ask(client, "cats", one, True), "cats")
        refused(404, lambda: ask(client, "digits", one, True, model_version="7"), "version 7")
        refused(400, lambda: ask(client, "digits", {"image": digits[:1]}, True), "image", "pixel_values")
        refused(400, lambda: ask(client, "digits", {"pixel_values": digits[:1, :, :, :27]}, True), "[n,1,28,28]")
        refused(400, lambda: ask(client, "digits", {"pixel_values": digits[:1].astype(np.float64)}, True), "FP64", "FP32")
        refused(400, lambda: ask(client, "digits", one, True, ["scores"]), "scores", "logits")

        tensors = [triton.InferInput("pixel_values", [1, 1, 28, 28], "FP32") for _ in range(REQUESTS)]
        for index, tensor in enumerate(tensors):
            tensor.set_data_from_numpy(digits[index % 48][None], binary_data=index % 2 == 0)
        waiting = [client.async_infer("digits", [tensor], request_id=str(i)) for i, tensor in enumerate(tensors)]
        for index, request in enumerate(waiting):
            result = request.get_result()
            assert result.get_response()["id"] == str(index)
            assert np.abs(softmax(result.as_numpy("logits")) - truth[index % 48]).max() < 1e-6
    print(f"digits: metadata, JSON, binary, compressed, classes, 6 errors, {REQUESTS} asynchronous requests: OK")


def check_dtypes():
    random = np.random.RandomState(2)
    kinds = [np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int16, np.int32, np.int64]
    arrays = {}
    for kind in kinds:
        limits = np.iinfo(kind)
        arrays[np.dtype(kind).name] = np.array([[limits.min, limits.max], [0, 1]], kind)
    for kind in (np.float16, np.float32, np.float64):
        arrays[np.dtype(kind).name] = random.randn(2, 2).astype(kind)
    arrays["bool"] = np.array([[True, False], [False, True]])
    for name, array in arrays.items():
        with serve(MODEL_DIR=f"test/fixtures/models/dtypes/{name}") as url, connect(url) as client:
            for binary in (True, False):
                if name == "float16" and not binary:  # JSON has no FP16
                    continue
                tensor = triton.InferInput("x", list(array.shape), np_to_triton_dtype(array.dtype))
                tensor.set_data_from_numpy(array, binary_data=binary)
                outputs = [triton.InferRequestedOutput("y", binary_data=binary)]
                received = client.infer(name, [tensor], outputs=outputs).as_numpy("y")
                assert (received == array).all(), (name, binary, received)
    print(f"dtypes: {len(arrays)} datatypes, JSON and binary: OK")


def check_kserve():
    """KServe's client, an optional dependency: pip install kserve."""
    try:
        from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
        from kserve.protocol.infer_type import RequestedOutput
    except ImportError:
        return print("kserve: not installed, skipped")
    digits = np.random.RandomState(3).rand(5, 1, 28, 28).astype(np.float32)

    async def ask_both(url, truth):
        client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
        assert await client.is_server_live(url) and await client.is_server_ready(url)
        assert await client.is_model_ready(url, "mnist")
        for binary in (False, True):
            tensor = InferInput("pixel_values", list(digits.shape), "FP32")
            tensor.set_data_from_numpy(digits, binary_data=binary)
            wanted = [RequestedOutput("logits", parameters={"binary_data": binary})]
            request = InferRequest("mnist", [tensor], request_id="7", request_outputs=wanted)
            answer = await client.infer(url, request, model_name="mnist")
            assert answer.id == "7"
            assert np.abs(softmax(answer.outputs[0].as_numpy()) - truth).max() < 1e-6
        old = InferenceRESTClient(RESTConfig(protocol="v1", retries=0))
        assert await old.is_model_ready(url, "mnist")
        answer = await old.infer(url, {"instances": digits.tolist()}, model_name="mnist")
        assert [p["label"] for p in answer["predictions"]] == [str(best) for best in truth.argmax(1)]

    with serve() as url:
        asyncio.run(ask_both(url, predict(url, digits)))
    print("kserve: V2 in JSON and binary, V1: OK")


if __name__ == "__main__":
    check_digits()
    check_dtypes()
    check_kserve()
