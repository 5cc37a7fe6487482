"""Starts the worker, with numpy's products on one thread and nothing in the background."""

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # read when numpy is imported
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime (from 1.29 on) sends what it sees, by a thread of its own

from .server import main

if __name__ == "__main__":
    main()
