"""Starts the worker, with numpy's products on one thread."""

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # read when numpy is imported

from .server import main

if __name__ == "__main__":
    main()
