"""``limner demo``: know two faces among strangers, on photographs that are already installed."""

from limner.cli.demo.command import demo

__all__ = ["demo"]
