"""Runs in the toolchain tflite-runtime, which is asked nothing but whether it works: the worker runs there."""

from __future__ import annotations

from contextlib import suppress
from importlib import metadata

from tflite_runtime.interpreter import Interpreter


def check() -> dict[str, object]:
    """Versions; proves that an interpreter starts, which it does not with numpy 2."""
    with suppress(ValueError):  # it starts, and sees that this is none
        Interpreter(model_content=b"no graph")
    return {package: metadata.version(package) for package in ("tflite-runtime", "numpy")}
