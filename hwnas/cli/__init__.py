"""The ``hwnas`` command: Ctrl-C is answered in one line from the first import on."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Entry point of the ``hwnas`` command."""
    try:
        from hwnas.cli.commands import take_command_line
    except KeyboardInterrupt:
        print("hwnas: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    take_command_line()
