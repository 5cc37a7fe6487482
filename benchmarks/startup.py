"""Start-up time of ``hwnas --help``, beside that of Python doing nothing.

python benchmarks/startup.py [--runs 10] [--json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence

COMMANDS: dict[str, Sequence[str]] = {
    "python -c pass": ("-c", "pass"),
    "python -c 'import numpy'": ("-c", "import numpy"),
    "python -c 'import hwnas'": ("-c", "import hwnas"),
    "hwnas --help": ("-m", "hwnas", "--help"),
}


def least_s(arguments: Sequence[str], runs: int) -> float:
    """The least wall time of several runs, the first of which fills the file cache and is left out."""
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def main() -> None:
    """Print one line per command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    times = {name: least_s(command, arguments.runs) for name, command in COMMANDS.items()}
    if arguments.json:
        print(json.dumps(times))
        return
    for name, seconds in times.items():
        print(f"{name:<28}{1000 * seconds:8.0f} ms")


if __name__ == "__main__":
    main()
