"""Serve the service with its page, with settings from the first argument; prints the address."""

from __future__ import annotations

import sys

from limner.service import Settings, create_app
from limner.service.run import serve
from limner.studio import mount_page

if __name__ == "__main__":
    app = create_app(Settings.model_validate_json(sys.argv[1]))
    serve(mount_page(app), on_address=lambda address: print(address, flush=True))
