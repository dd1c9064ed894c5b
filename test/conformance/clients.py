"""Classify an image with clients generated from /openapi.json, and with OpenVINO's client of TF Serving's REST API.

    pip install -r requirements.txt
    python3 clients.py

Those of openapi-generator need a JVM, Maven and Go: clients/openapi_generator.sh.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from ovmsclient import make_http_client
from running_server import ROOT, serve

CLIENTS = Path(__file__).parent / "clients"
SAMPLE = ROOT / "models/mnist/sample.png"
PYTHON_CLIENT = CLIENTS / "generated/python_client"


def run(*command, **env):
    done = subprocess.run(command, cwd=CLIENTS, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout


def typescript(url):
    """openapi-typescript with openapi-fetch, hey-api and orval: generate, check the types, run."""
    run("npm", "install", "--no-package-lock", "--ignore-scripts", "--silent")
    run("npx", "openapi-typescript", f"{url}/openapi.json", "-o", "generated/openapi_typescript.ts")
    run("npx", "openapi-ts", "-i", f"{url}/openapi.json", "-o", "generated/hey")
    run("npx", "orval", "--config", "orval.config.cjs", URL=url)
    run("npx", "tsc")
    return run("npx", "tsx", "typescript.ts", url, "mnist", SAMPLE)


def python(url):
    generator = Path(sys.executable).parent / "openapi-python-client"
    run(generator, "generate", "--url", f"{url}/openapi.json", "--output-path", PYTHON_CLIENT, "--overwrite")
    return run(sys.executable, "python_client.py", url, SAMPLE, PYTHONPATH=str(PYTHON_CLIENT))


def ovms(url):
    client = make_http_client(url.removeprefix("http://"))
    image = SAMPLE.read_bytes()
    assert client.predict({"image_bytes": [image, image]}, "mnist").argmax(axis=1).tolist() == [2, 2]
    zeros = np.zeros((3, 1, 28, 28), np.float32)
    assert client.predict({"pixel_values": zeros}, "mnist", 1).shape == (3, 10)
    assert client.get_model_metadata("mnist")["inputs"]["pixel_values"]["shape"] == [-1, 1, 28, 28]
    assert client.get_model_status("mnist")[1]["state"] == "AVAILABLE"


with serve() as server:
    lines = (typescript(server) + python(server)).splitlines()
    expected = ["openapi-typescript", "hey-api", "hey-api instances", "orval", "openapi-python-client"]
    assert lines == [f"{name} 2 2" for name in expected], lines
    ovms(server)
    print(f"clients: {', '.join(expected)} and ovmsclient classify an image")
