"""Serve the studio from a folder on a free port; prints the address.

A second argument holds more settings, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from limner.service import Settings, create_app
from limner.service.run import serve
from limner.studio import mount_page

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    more = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    given = {"port": 0, "gallery": folder / "g.limner", "state": folder / "state", **more}
    app = create_app(Settings(**given))
    serve(mount_page(app), on_address=lambda address: print(address, flush=True))
