"""Serve the page of a Space on a free port of this machine; prints the address."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import app as space

from limner.service import Settings
from limner.service.run import serve

if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    folder = Path(given["state"]).parent
    # the address of a Space is every one; a test's is this machine
    space.Settings = lambda **own: Settings(**{**own, "host": "127.0.0.1", "port": 0})
    page = space.make_app(folder, can_enrol=False)
    serve(page, on_address=lambda address: print(address, flush=True))
