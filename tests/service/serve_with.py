"""Serve with settings from the first argument, a JSON object; prints the address."""

from __future__ import annotations

import sys

from limner.service import Settings, create_app
from limner.service.run import serve

if __name__ == "__main__":
    serve(
        create_app(Settings.model_validate_json(sys.argv[1])),
        on_address=lambda address: print(address, flush=True),
    )
