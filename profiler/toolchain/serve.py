"""Serves a tool script's functions over stdin/stdout; run by a toolchain's own Python.

``python -I -u serve.py TOOL.py``. Self-contained (standard library). A request is a line
``{"id": 1, "call": "function", "arguments": {...}}``; the reply has the same id and ``result``,
or ``error`` with one line of text. What a function prints goes to stderr: stdout holds replies only.
It ends when stdin does, so it never outlives who started it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType


def load(path: str) -> ModuleType:
    """The tool script as a module; the files beside it are modules too."""
    sys.path.insert(0, str(Path(path).parent))
    spec = importlib.util.spec_from_file_location("tool", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(tool: ModuleType, line: str) -> dict[str, object]:
    """The reply to one request line."""
    request = json.loads(line)
    try:
        reply = {"result": getattr(tool, request["call"])(**request["arguments"])}
        json.dumps(reply, allow_nan=False)
    except (Exception, SystemExit) as exc:
        traceback.print_exc(file=sys.stderr)
        text = " ".join(str(exc).split())
        reply = {"error": f"{type(exc).__name__}: {text}" if text else type(exc).__name__}
    return {"id": request["id"], **reply}


def main() -> None:
    """Read, call, answer, until stdin ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        tool: ModuleType | None = load(sys.argv[1])
        broken = ""
    except Exception as exc:  # an environment without what the script imports
        traceback.print_exc(file=sys.stderr)
        tool, broken = None, f"{type(exc).__name__}: {' '.join(str(exc).split())}"
    for line in sys.stdin:
        reply = answer(tool, line) if tool is not None else {"id": json.loads(line)["id"], "error": broken}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
