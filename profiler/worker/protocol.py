"""What a request is, and the error a driver is told."""

from __future__ import annotations

import json
from typing import Any

Request = dict[str, Any]


class WorkerError(Exception):
    """A request that cannot be served; the driver is told the message."""


def parsed(line: bytes) -> Request:
    """The request in a line, or an error."""
    request = json.loads(line)
    if not isinstance(request, dict):
        raise WorkerError("a request is an object")
    return request
