"""The HTTP service: limner's faces, pictures and units under ``/v1``."""
