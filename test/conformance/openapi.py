"""Generate valid and invalid requests from /openapi.json, and check that the responses match it (schemathesis).

    pip install -r requirements.txt
    python3 openapi.py [EXAMPLES]      (per operation; 100 make more than 5,000 requests)
"""

import subprocess
import sys
from pathlib import Path

from running_server import serve

HERE = Path(__file__).parent
MODELS = ["", "linear", "faces"]

examples = sys.argv[1] if len(sys.argv) > 1 else "100"
for name in MODELS:
    with serve(MODEL_DIR=name and f"test/fixtures/models/{name}", LOG_LEVEL="info") as url:
        print(f"schemathesis: {name or 'mnist'}", flush=True)
        command = [Path(sys.executable).parent / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run"]
        options = ["--checks", "all", "--max-examples", examples, "--generation-deterministic"]
        if name == "linear":
            # with ?dims=1 any four bytes are a tensor, even the word null
            options += ["--exclude-checks", "negative_data_rejection"]
        subprocess.run([*command, f"{url}/openapi.json", *options], check=True)
