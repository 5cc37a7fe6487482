"""The ``hwnas`` command."""

from hwnas.cli.main import app, main

__all__ = ["app", "main"]
