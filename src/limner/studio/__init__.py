"""The studio: limner as a page in the browser, mounted on the service."""
