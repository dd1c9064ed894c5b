"""Serve models of common exporters, and compare them with the exporting library in Python.

    python3 test/conformance/exporters.py         serve every case, and write exporters.md
    python3 test/conformance/exporters.py save    make those of test/fixtures/exports

PyPI: torch, onnxscript, scikit-learn, skl2onnx, xgboost, lightgbm, onnxmltools, keras, tensorflow-cpu, tf2onnx,
ultralytics, onnxruntime, pillow<13. Each case writes a folder, and returns inputs with Python's probability of each
class. The server is started on the folder, and every label and score (within 1e-5) is compared.
"""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import warnings
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", CUDA_VISIBLE_DEVICES="")
warnings.filterwarnings("ignore")

import lightgbm  # noqa: E402
import numpy as np  # noqa: E402
import onnxmltools  # noqa: E402
import torch  # noqa: E402
import xgboost  # noqa: E402
from onnxmltools.convert.common.data_types import FloatTensorType  # noqa: E402
from PIL import Image  # noqa: E402
from running_server import ROOT, serve  # noqa: E402
from skl2onnx import to_onnx  # noqa: E402
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier  # noqa: E402
from sklearn.linear_model import LinearRegression, LogisticRegression  # noqa: E402
from sklearn.multiclass import OneVsRestClassifier  # noqa: E402
from sklearn.naive_bayes import GaussianNB  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier  # noqa: E402
from sklearn.neural_network import MLPClassifier  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.svm import SVC  # noqa: E402

random = np.random.RandomState(0)
X = random.randn(120, 4).astype(np.float32)
CLASS = (X @ random.randn(4, 3)).argmax(1)
WORDS = np.array(["cat", "dog", "emu"])
NUMBERS = np.array([-3, 5, 40])
PHOTOS = [Image.fromarray(random.randint(0, 256, (h, w, 3), np.uint8)) for w, h in [(60, 41), (33, 64), (90, 25)]]
EXPORTS = ROOT / "test/fixtures/exports"
CASES = []


def case(name, labels=None):
    """Register a function that writes the model to a folder, and returns the inputs and their scores [n, labels]."""

    def add(make):
        CASES.append((name, labels, make))
        return make

    return add


def write(folder, **files):
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


# scikit-learn: every kind of classifier, with labels other than the class numbers


def sklearn_case(name, model, labels, **options):
    @case(f"scikit-learn {name}", labels)
    def _(folder):
        model.fit(X, labels[CLASS % len(labels)])
        onnx_model = to_onnx(model, X[:1], options={"zipmap": False, **options})
        (folder / "model.onnx").write_bytes(onnx_model.SerializeToString())
        order = [list(model.classes_).index(label) for label in labels]
        return X[:20], model.predict_proba(X[:20])[:, order]


sklearn_case("LogisticRegression, words", LogisticRegression(), WORDS)
sklearn_case("LogisticRegression, numbers", LogisticRegression(), NUMBERS)
sklearn_case("LogisticRegression, two classes", LogisticRegression(), WORDS[:2])
sklearn_case("RandomForestClassifier, words", RandomForestClassifier(5), WORDS)
sklearn_case("RandomForestClassifier, numbers", RandomForestClassifier(5), NUMBERS)
sklearn_case("GradientBoostingClassifier", GradientBoostingClassifier(n_estimators=3), WORDS)
sklearn_case("MLPClassifier, words", MLPClassifier(5, max_iter=50), WORDS)
sklearn_case("MLPClassifier, numbers", MLPClassifier(5, max_iter=50), NUMBERS)
sklearn_case("KNeighborsClassifier", KNeighborsClassifier(), WORDS)
sklearn_case("GaussianNB", GaussianNB(), NUMBERS)
sklearn_case("SVC with probabilities", SVC(probability=True), WORDS)
sklearn_case("Pipeline of scaler and LogisticRegression", make_pipeline(StandardScaler(), LogisticRegression()), WORDS)


@case("scikit-learn LogisticRegression with ZipMap", "refused: ZipMap")
def _(folder):
    (folder / "model.onnx").write_bytes(to_onnx(LogisticRegression().fit(X, CLASS), X[:1]).SerializeToString())


@case("scikit-learn SVC without probabilities", WORDS)
def _(folder):
    model = SVC().fit(X, WORDS[CLASS])
    (folder / "model.onnx").write_bytes(to_onnx(model, X[:1], options={"zipmap": False}).SerializeToString())
    return X[:20], model.decision_function(X[:20])


for model in (MLPClassifier(5, max_iter=50), OneVsRestClassifier(LogisticRegression())):

    @case(f"scikit-learn {type(model).__name__} of several labels", "multi-label")
    def _(folder, model=model):
        model.fit(X, np.stack([X[:, 0] > 0, X[:, 1] > 0.5, X[:, 2] < 0], 1).astype(int))
        (folder / "model.onnx").write_bytes(to_onnx(model, X[:1], options={"zipmap": False}).SerializeToString())
        return X[:20], model.predict_proba(X[:20])


@case("scikit-learn LinearRegression", "regression")
def _(folder):
    model = LinearRegression().fit(X, X[:, 0] * 2 + X[:, 1])
    (folder / "model.onnx").write_bytes(to_onnx(model, X[:1]).SerializeToString())
    return X[:20], model.predict(X[:20])[:, None]


# gradient boosting libraries, exported by onnxmltools


def boosting_case(name, model, convert, labels):
    @case(name, labels)
    def _(folder):
        model.fit(X, CLASS % len(labels))
        onnx_model = convert(model, initial_types=[("x", FloatTensorType([None, 4]))], target_opset=15)
        (folder / "model.onnx").write_bytes(onnx_model.SerializeToString())
        return X[:20], model.predict_proba(X[:20])


def without_zipmap(*args, **options):
    return onnxmltools.convert_lightgbm(*args, zipmap=False, **options)


XGB = {"n_estimators": 5, "max_depth": 3}
boosting_case("XGBoost, three classes", xgboost.XGBClassifier(**XGB), onnxmltools.convert_xgboost, ["0", "1", "2"])
boosting_case("XGBoost, two classes", xgboost.XGBClassifier(**XGB), onnxmltools.convert_xgboost, ["0", "1"])
LGB = {"n_estimators": 5, "verbose": -1}
boosting_case("LightGBM, three classes", lightgbm.LGBMClassifier(**LGB), without_zipmap, ["0", "1", "2"])
boosting_case("LightGBM, two classes", lightgbm.LGBMClassifier(**LGB), without_zipmap, ["0", "1"])
boosting_case("LightGBM with ZipMap", lightgbm.LGBMClassifier(**LGB), onnxmltools.convert_lightgbm, "refused: ZipMap")


def add_tensorflow():
    """TensorFlow and Ultralytics crash in one process, so each is imported only for its own cases."""
    import keras
    import tensorflow as tf
    import tf2onnx

    # Keras 3: images are [n, h, w, c]; load_img is Pillow's resize

    def keras_images(model, size, mode="rgb"):
        images = []
        for photo in PHOTOS:
            file = io.BytesIO()
            photo.save(file, "PNG")
            image = keras.utils.load_img(file, color_mode=mode, target_size=size, interpolation="bilinear")
            images.append(keras.utils.img_to_array(image))
        return PHOTOS, model.predict(np.stack(images), verbose=0)

    def convnet(channels, head, rescale=True):
        layers = [keras.layers.Rescaling(1 / 255)] if rescale else []
        layers += [keras.layers.Conv2D(4, 3, strides=2, activation="relu"), keras.layers.GlobalAveragePooling2D()]
        model = keras.Sequential([keras.Input((24, 32, channels)), *layers, *head])
        model(np.zeros((1, 24, 32, channels), np.float32))
        for layer in model.layers:
            layer.set_weights([random.randn(*w.shape).astype(np.float32) for w in layer.get_weights()])
        return model

    LEVELS = {"size": {"height": 24, "width": 32}, "resample": 2, "do_rescale": False, "do_normalize": False}
    SOFTMAX = [keras.layers.Dense(3, activation="softmax")]

    @case("Keras images, softmax, Rescaling in the graph", ["0", "1", "2"])
    def _(folder):
        model = convnet(3, SOFTMAX)
        model.export(str(folder / "model.onnx"), format="onnx", verbose=False)
        write(folder, preprocessor_config=LEVELS)
        return keras_images(model, (24, 32))

    @case("Keras grey images, softmax", ["0", "1", "2"])
    def _(folder):
        model = convnet(1, SOFTMAX)
        model.export(str(folder / "model.onnx"), format="onnx", verbose=False)
        write(folder, preprocessor_config=LEVELS)
        return keras_images(model, (24, 32), "grayscale")

    @case("Keras images, logits", WORDS)
    def _(folder):
        model = convnet(3, [keras.layers.Dense(3)])
        model.export(str(folder / "model.onnx"), format="onnx", verbose=False)
        write(folder, preprocessor_config=LEVELS, config={"labels": list(WORDS)})
        images, logits = keras_images(model, (24, 32))
        return images, keras.ops.convert_to_numpy(keras.ops.softmax(logits))

    @case("Keras images, one sigmoid, two labels", ["cat", "dog"])
    def _(folder):
        model = convnet(3, [keras.layers.Dense(1, activation="sigmoid")])
        model.export(str(folder / "model.onnx"), format="onnx", verbose=False)
        write(folder, preprocessor_config=LEVELS, config={"labels": ["cat", "dog"]})
        images, p = keras_images(model, (24, 32))
        return images, np.concatenate([1 - p, p], 1)

    @case("Keras features, one sigmoid, no labels", ["0", "1"])
    def _(folder):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, activation="sigmoid")])
        model(X[:1])
        model.export(str(folder / "model.onnx"), format="onnx", verbose=False)
        p = model.predict(X[:20], verbose=0)
        return X[:20], np.concatenate([1 - p, p], 1)

    @case("Keras features, three sigmoids", "multi-label")
    def _(folder):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="sigmoid")])
        model(X[:1])
        model.export(str(folder / "model.onnx"), format="onnx", verbose=False)
        return X[:20], model.predict(X[:20], verbose=0)

    @case("Keras features, a regression", "regression")
    def _(folder):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model(X[:1])
        model.export(str(folder / "model.onnx"), format="onnx", verbose=False)
        write(folder, config={"problem_type": "regression"})
        return X[:20], model.predict(X[:20], verbose=0)

    @case("Keras, an embedding beside the scores", WORDS)
    def _(folder):
        inputs = keras.Input((4,))
        embedding = keras.layers.Dense(8, name="embedding")(inputs)
        model = keras.Model(inputs, [embedding, keras.layers.Dense(3, activation="softmax", name="scores")(embedding)])
        model(X[:1])
        model.export(str(folder / "model.onnx"), format="onnx", verbose=False)
        write(folder, config={"labels": list(WORDS)})
        return X[:20], model.predict(X[:20], verbose=0)[1]

    # tf2onnx from Python

    @case("tf2onnx from Keras, images", ["0", "1", "2"])
    def _(folder):
        model = convnet(3, SOFTMAX)
        spec = (tf.TensorSpec((None, 24, 32, 3), tf.float32, name="image"),)
        tf2onnx.convert.from_function(tf.function(model), spec, opset=17, output_path=str(folder / "model.onnx"))
        write(folder, preprocessor_config=LEVELS)
        return keras_images(model, (24, 32))

    @case("tf2onnx, inputs as NCHW", ["0", "1", "2"])
    def _(folder):
        model = convnet(3, SOFTMAX)
        spec = (tf.TensorSpec((None, 24, 32, 3), tf.float32, name="image"),)
        path = str(folder / "model.onnx")
        tf2onnx.convert.from_function(tf.function(model), spec, opset=17, output_path=path, inputs_as_nchw=["image"])
        write(folder, preprocessor_config=LEVELS)
        return keras_images(model, (24, 32))

    @case("tf2onnx, a graph of uint8 images", ["0", "1", "2"])
    def _(folder):
        model = convnet(3, SOFTMAX)
        graph = tf.function(lambda image: model(tf.cast(image, tf.float32)))
        spec = (tf.TensorSpec((None, 24, 32, 3), tf.uint8, name="image"),)
        tf2onnx.convert.from_function(graph, spec, opset=17, output_path=str(folder / "model.onnx"))
        write(folder, preprocessor_config=LEVELS)
        return keras_images(model, (24, 32))


# torch.onnx.export, both exporters


class Net(torch.nn.Module):
    def __init__(self, finish, classes=3):
        super().__init__()
        self.layer, self.finish = torch.nn.Linear(4, classes), finish

    def forward(self, x):
        return self.finish(self.layer(x))


def torch_case(name, finish, labels, scores, classes=3, config=None, names=("y",)):
    for dynamo in (False, True):

        @case(f"torch.onnx.export, {'dynamo' if dynamo else 'TorchScript'}: {name}", labels)
        def _(folder, dynamo=dynamo):
            model = Net(finish, classes).eval()
            axes = {"dynamic_shapes": ({0: torch.export.Dim("n")},)} if dynamo else {"dynamic_axes": {"x": {0: "n"}}}
            inputs = (torch.from_numpy(X[:2]),)
            torch.onnx.export(model, inputs, str(folder / "model.onnx"), input_names=["x"], output_names=list(names), dynamo=dynamo, verbose=False, **axes)
            if config:
                write(folder, config=config)
            with torch.no_grad():
                return X[:20], scores(model.layer(torch.from_numpy(X[:20]))).numpy()


def softmax(x):
    return torch.softmax(x, -1)


def both(x):
    p = torch.sigmoid(x)
    return torch.cat([1 - p, p], 1)


DIGITS = ["0", "1", "2"]
torch_case("logits", lambda x: x, DIGITS, softmax)
torch_case("softmax in the graph", softmax, DIGITS, softmax)
torch_case("log softmax in the graph", lambda x: torch.log_softmax(x, -1), DIGITS, softmax)
torch_case("sigmoid in the graph", torch.sigmoid, "multi-label", torch.sigmoid)
torch_case("one logit, two labels", lambda x: x, ["no", "yes"], both, 1, {"id2label": {"0": "no", "1": "yes"}})
torch_case("features, then logits", lambda x: (x @ torch.ones(3, 5), x), DIGITS, softmax, names=("features", "logits"))


def add_ultralytics():
    import onnx
    import onnxruntime
    from ultralytics import YOLO
    from ultralytics.data.augment import classify_transforms

    names = ["it's", 'a "b"', "ü", "d\\e"]

    def export(folder):
        model = YOLO("yolo11n-cls.yaml")
        head = model.model.model[-1]
        head.linear = torch.nn.Linear(head.linear.in_features, len(names))
        torch.nn.init.normal_(head.linear.weight, std=0.5)
        model.model.names = dict(enumerate(names))
        Path(model.export(format="onnx", imgsz=64, dynamic=True, simplify=False, device="cpu")).rename(folder / "model.onnx")

    @case("Ultralytics YOLO classifier", names)
    def _(folder):
        export(folder)
        predictor = YOLO(str(folder / "model.onnx"), task="classify")
        photos = [np.asarray(photo)[..., ::-1].copy() for photo in PHOTOS]
        return PHOTOS, np.stack([result.probs.data.numpy() for result in predictor.predict(photos, imgsz=64, verbose=False, device="cpu")])

    @case("Ultralytics metadata on a small graph", names)
    def _(folder):
        export(folder)
        model = onnx.load(folder / "model.onnx")
        weights = onnx.numpy_helper.from_array(random.randn(3, 4).astype(np.float32), "w")
        nodes = [
            onnx.helper.make_node("GlobalAveragePool", ["images"], ["pool"]), onnx.helper.make_node("Flatten", ["pool"], ["flat"]),
            onnx.helper.make_node("MatMul", ["flat", "w"], ["logits"]), onnx.helper.make_node("Softmax", ["logits"], ["output0"]),
        ]
        value = onnx.helper.make_tensor_value_info
        graph = onnx.helper.make_graph(nodes, "g", [value("images", 1, ["batch", 3, 64, 64])], [value("output0", 1, ["batch", 4])], [weights])
        model.graph.CopyFrom(graph)
        onnx.save(model, folder / "model.onnx")
        session = onnxruntime.InferenceSession(folder / "model.onnx")
        inputs = [classify_transforms(64)(photo).numpy()[None] for photo in PHOTOS]
        return PHOTOS, np.concatenate([session.run(None, {"images": x})[0] for x in inputs])


def request(url, item):
    if isinstance(item, Image.Image):
        body, headers = png(item), {}
    else:
        body, headers = json.dumps({"data": [item.tolist()]}).encode(), {"content-type": "application/json"}
    post = urllib.request.Request(f"{url}/predict?top_k=100", data=body, headers=headers, method="POST")
    with urllib.request.urlopen(post) as response:
        return json.load(response)


def difference(answer, labels, scores):
    """The largest difference of a score; infinite if a label is missing or wrong."""
    if isinstance(labels, str) and labels == "regression":
        return abs(answer["prediction"] - scores[0])
    served = {prediction["label"]: prediction["score"] for prediction in answer["predictions"]}
    if isinstance(labels, str):
        wanted = {str(i): score for i, score in enumerate(scores) if score > 0.5}
    else:
        wanted = {str(label): score for label, score in zip(labels, scores)}
        best = max(wanted, key=wanted.get)
        if wanted[answer["label"]] < wanted[best] - 1e-5:
            return np.inf
    if served.keys() != wanted.keys():
        return np.inf
    return max((abs(served[label] - wanted[label]) for label in wanted), default=0)


def check(labels, make):
    """The table's entries for a case: the difference or 'refused: ...', or the failure in capitals; and the notes."""
    with tempfile.TemporaryDirectory() as folder:
        made = make(Path(folder))
        describe = subprocess.run(["node", "server.js", "--describe"], cwd=ROOT, env={**os.environ, "MODEL_DIR": folder}, capture_output=True, text=True)
        if isinstance(labels, str) and labels.startswith("refused"):
            is_refused = describe.returncode == 1 and labels.split(": ")[1] in describe.stderr
            return (labels, []) if is_refused else (f"NOT REFUSED: {describe.stderr or describe.stdout}", [])
        if describe.returncode:
            return f"REFUSED: {describe.stderr}", []
        notes = [line[9:].replace(folder, ".") for line in describe.stdout.splitlines() if line.startswith("note")]
        inputs, scores = made
        with serve(MODEL_DIR=folder) as url:
            worst = max(difference(request(url, item), labels, row) for item, row in zip(inputs, scores))
        return (f"{worst:.0e}" if worst <= 1e-5 else f"WRONG by {worst:.2g}"), notes


def seed():
    torch.manual_seed(0)
    np.random.seed(0)


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def forget_source(path):
    """Remove torch.onnx.export's stack traces, which contain local paths."""
    import onnx

    graph = onnx.load(path)
    for node in graph.graph.node:
        del node.metadata_props[:]
    onnx.save(graph, path)


def save(name, labels, make):
    """Write a folder of test/fixtures/exports, with truth.json: its inputs, labels and scores."""
    folder = EXPORTS / re.sub(r"\W+", "_", name)
    folder.mkdir(parents=True)
    seed()
    inputs, scores = make(folder) or ([], np.zeros(0))
    forget_source(folder / "model.onnx")
    items = [base64.b64encode(png(item)).decode() if isinstance(item, Image.Image) else item.tolist() for item in inputs[:4]]
    labels = labels if isinstance(labels, str) else [str(label) for label in labels]
    (folder / "truth.json").write_text(json.dumps({"labels": labels, "inputs": items, "scores": scores[:4].tolist()}) + "\n")


FAMILIES = {"scikit-learn": None, "boosting": None, "tensorflow": add_tensorflow, "torch": None, "Ultralytics": add_ultralytics}
SAVED = [
    "scikit-learn LogisticRegression, words", "scikit-learn LogisticRegression, numbers", "scikit-learn MLPClassifier, words",
    "scikit-learn MLPClassifier, numbers", "scikit-learn LogisticRegression with ZipMap", "XGBoost, two classes",
    "Keras images, softmax, Rescaling in the graph", "Keras images, one sigmoid, two labels", "Keras features, one sigmoid, no labels",
    "Keras, an embedding beside the scores", "tf2onnx, a graph of uint8 images", "torch.onnx.export, dynamo: softmax in the graph",
    "torch.onnx.export, dynamo: sigmoid in the graph", "torch.onnx.export, TorchScript: one logit, two labels",
    "torch.onnx.export, TorchScript: features, then logits", "Ultralytics metadata on a small graph",
]


def run(name, labels, make):
    seed()
    try:
        result, notes = check(labels, make)
    except Exception as error:  # noqa: BLE001 - shown in the table
        result, notes = f"FAILED: {type(error).__name__}: {str(error)[:200]}", []
    print(f"| {name} | {result} | {'<br>'.join(notes)} |", flush=True)
    return not result[:2].isupper()


def of_family(action, family):
    (FAMILIES[family] or (lambda: None))()
    prefixes = {"boosting": ("XGBoost", "LightGBM"), "tensorflow": ("Keras", "tf2onnx")}.get(family, family)
    cases = [case for case in CASES if case[0].startswith(prefixes)]
    if action == "save":
        for name, labels, make in cases:
            if name in SAVED:
                save(name, labels, make)
        return True
    return all([run(*case) for case in cases])


def main():
    action, *families = sys.argv[1:] or ["serve"]
    if families:
        sys.exit(not of_family(action, families[0]))
    if action == "save":
        shutil.rmtree(EXPORTS, ignore_errors=True)
    rows = ["| Model | Difference | Notes |", "|---|---|---|"]
    failed = False
    for family in FAMILIES:
        done = subprocess.run([sys.executable, __file__, action, family], stdout=subprocess.PIPE, text=True)
        failed |= done.returncode != 0
        rows += [line for line in done.stdout.splitlines() if line.startswith("| ")]
        print(done.stdout, end="", flush=True)
    if action == "serve":
        head = ["# Exporters", "", "Written by exporters.py: the largest difference of a score from the author's own Python.", ""]
        (Path(__file__).parent / "exporters.md").write_text("\n".join(head + rows) + "\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
