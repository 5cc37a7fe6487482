"""SCALE-Sim 3.0.0 itself, in an environment of its own: what our closed form is held against.

Nothing of hwnas needs it: the environment is made in a folder that may be thrown away, and its Python is given
products as JSON, one simulation each (bandwidth mode CALC, buffers of 1 MB, double-buffered: as in the reference).
"""

from __future__ import annotations

import json
import subprocess
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

REQUIREMENTS = ("scalesim==3.0.0", "numpy>=2.0.2,<2.4")  # with numpy 2.4 every run ends in a TypeError

_CONFIG = """
[general]
run_name = run
[architecture_presets]
ArrayHeight = {rows}
ArrayWidth = {cols}
IfmapSramSzkB = 1024
FilterSramSzkB = 1024
OfmapSramSzkB = 1024
IfmapOffset = 0
FilterOffset = 100000000
OfmapOffset = 200000000
Bandwidth = 10
Dataflow = {dataflow}
MemoryBanks = 1
ReadRequestBuffer = 64
WriteRequestBuffer = 64
[layout]
IfmapCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterCustomLayout = False
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = false
SparseRep = ellpack_block
OptimizedMapping = false
BlockSize = 8
RandomNumberGeneratorSeed = 40
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
"""

_SCRIPT = """
import contextlib, csv, io, json, os, sys, time
from scalesim.scale_sim import scalesim
for number, question in enumerate(json.load(sys.stdin)):
    folder = f"{number}"
    os.makedirs(folder)
    with open(f"{folder}/run.cfg", "w") as file:
        file.write(question["config"])
    with open(f"{folder}/gemm.csv", "w") as file:
        file.write("Layer,M,N,K,\\ng,{M},{N},{K},\\n".format(**question))
    with open(f"{folder}/layout.csv", "w") as file:
        file.write("header\\ng," + "1," * 20 + "\\n")
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        simulation = scalesim(save_disk_space=True, verbose=False, config=f"{folder}/run.cfg",
                              topology=f"{folder}/gemm.csv", layout=f"{folder}/layout.csv", input_type_gemm=True)
        simulation.run_scale(top_path=folder)
    seconds = time.perf_counter() - began
    found = {"seconds": seconds}
    for report in ("COMPUTE_REPORT", "DETAILED_ACCESS_REPORT"):
        with open(f"{folder}/run/{report}.csv") as file:
            (row,) = csv.DictReader(file)
        found.update({name.strip(): value.strip() for name, value in row.items() if name and name.strip()})
    print(json.dumps(found), flush=True)
"""


class InstallError(Exception):
    """The environment could not be made; the message is pip's last line."""


def environment(folder: Path) -> Path:
    """The Python of an environment in ``folder`` with SCALE-Sim, made if missing (a minute or two, 510 MB)."""
    python = folder / "bin" / "python"
    done = folder / "done"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        command = [python, "-m", "pip", "install", "--quiet", *REQUIREMENTS]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise InstallError((ran.stderr.strip().splitlines() or ["pip said nothing"])[-1])
        done.touch()
    return python


def simulate(python: Path, questions: Sequence[Mapping[str, str | int]], folder: Path) -> list[dict[str, float]]:
    """SCALE-Sim's figures for products (dataflow, rows, cols, M, K, N), its own total cycles (one less) among them."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = [{**question, "config": _CONFIG.format(**question)} for question in questions]
    ran = subprocess.run(
        [python, "-c", _SCRIPT], cwd=folder, input=json.dumps(asked), capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise RuntimeError(f"SCALE-Sim failed: {ran.stderr.strip().splitlines()[-1]}")
    return [_row(json.loads(line)) for line in ran.stdout.splitlines()]


def _row(report: Mapping[str, str]) -> dict[str, float]:
    names = {
        "reported_total_cycles": "Total Cycles",
        "ifmap_sram_reads": "SRAM IFMAP Reads",
        "filter_sram_reads": "SRAM Filter Reads",
        "ofmap_sram_writes": "SRAM OFMAP Writes",
        "dram_ifmap_reads": "DRAM IFMAP Reads",
        "dram_filter_reads": "DRAM Filter Reads",
        "dram_ofmap_writes": "DRAM OFMAP Writes",
    }
    return {ours: float(report[theirs]) for ours, theirs in names.items()} | {"seconds": float(report["seconds"])}
