#!/usr/bin/env bash
# Foreign clients and the Python package against the real server, in a short form, in an environment of its own, pinned.
set -euo pipefail
cd "$(dirname "$0")"
if command -v promtool > /dev/null; then promtool check rules ../../deploy/alerts.yml; fi
# the committed kernels are what their sources compile to
committed=$(sha256sum ../../preprocess/wasm/*_kernel.wasm)
(cd ../.. && npm run --silent build:kernels)
sha256sum --check --quiet <<< "$committed"
if ! { python3 -m venv .venv && .venv/bin/pip install --quiet --no-compile --disable-pip-version-check -r requirements.txt ../../python; }; then
  echo 'conformance: SKIPPED, there is no Python 3 that can install requirements.txt'
  exit 0
fi
# the manifests against the API's own schemas, and linters of what builds and runs the image
.venv/bin/kubernetes-validate --quiet --strict ../../deploy/kubernetes.yaml
if command -v kube-score > /dev/null; then kube-score score --output-format ci ../../deploy/kubernetes.yaml; fi
.venv/bin/hadolint ../../Dockerfile ../../Dockerfile.cuda
.venv/bin/compose-lint --fail-on medium ../../deploy/compose.yaml
REQUESTS=200 .venv/bin/python open_inference.py
.venv/bin/python hugging_face.py
.venv/bin/python openapi.py 5
.venv/bin/python clients.py
# the tests that need no PyTorch; python/README.md has the command for all
(cd ../../python && ../test/conformance/.venv/bin/mypy && ../test/conformance/.venv/bin/pytest --quiet)
