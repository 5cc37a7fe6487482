"""TVM's wheel without its compiler: what runs a compiled library is one file of 3 MB in 100."""

from __future__ import annotations

import zipfile
from pathlib import Path

_KEPT = "tvm/lib/libtvm_runtime.so"
_NOTICES = ("LICENSE", "NOTICE")


def runtime_only(wheel: Path) -> None:
    """Reduce ``apache_tvm-*.whl`` in place to its runtime library, its description, and its licence.

    The worker loads that library by itself (:mod:`profiler.worker.tvm_runtime`), so nothing else of the package
    ``tvm`` is left; the packages it is used through, ``apache-tvm-ffi`` and numpy, are wheels of their own.
    Raises ``ValueError`` if this is no such wheel.
    """
    partial = wheel.with_name(f"{wheel.name}.partial")
    try:
        with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as reduced:
            if _KEPT not in whole.namelist():
                raise ValueError(f"{wheel.name} has no {_KEPT}")
            for entry in whole.infolist():
                if _is_needed(entry.filename):
                    reduced.writestr(entry, whole.read(entry))
        partial.replace(wheel)
    finally:
        partial.unlink(missing_ok=True)


def _is_needed(name: str) -> bool:
    top, _, rest = name.partition("/")
    described = top.endswith(".dist-info") and rest in ("METADATA", "WHEEL", *(f"licenses/{own}" for own in _NOTICES))
    return name == _KEPT or described
