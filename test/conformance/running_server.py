"""The real server, for the checks in Python."""

import os
import re
import subprocess
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def serve(**settings):
    """Start the server on a free port, and yield its URL."""
    env = {"PATH": os.environ["PATH"], "PORT": "0", **settings}
    process = subprocess.Popen(["node", "server.js"], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            found = re.search(r"serving .* at (http://[^\"]+)", line)
            if found:
                break
        else:
            raise SystemExit("the server did not start")
        yield found[1]
    finally:
        process.terminate()
        process.wait()


