"""Random products against SCALE-Sim itself, in an environment that is thrown away; the seed is the commit."""

import random
import subprocess
from pathlib import Path

import pytest

from benchmarks.scalesim import InstallError, environment, simulate
from hwnas.accelerator import GemmOptions, gemm

POINTS = 15
COUNTS = ("ifmap_sram_reads", "filter_sram_reads", "ofmap_sram_writes", "dram_ifmap_reads", "dram_filter_reads")


def commit() -> str:
    root = Path(__file__).parents[2]
    ran = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    return ran.stdout.strip() or "no commit"


def questions(seed: str) -> list[dict[str, str | int]]:
    """Products small enough that a simulation takes seconds, on arrays that are not square."""
    rng, found = random.Random(seed), []
    while len(found) < POINTS:
        rows, cols = rng.sample(range(4, 33), 2)
        m, k, n = (rng.randint(1, 128) for _ in range(3))
        if m * k * n / min(rows, cols) <= 1e5:
            dataflow = ("os", "ws", "is")[len(found) % 3]
            found.append({"dataflow": dataflow, "rows": rows, "cols": cols, "M": m, "K": k, "N": n})
    return found


@pytest.mark.slow
def test_random_products_take_the_cycles_and_accesses_that_scalesim_counts(tmp_path: Path) -> None:
    try:
        python = environment(tmp_path / "scalesim")
    except InstallError as exc:
        pytest.skip(f"SCALE-Sim cannot be installed here: {exc}")
    asked = questions(commit())
    for question, theirs in zip(asked, simulate(python, asked, tmp_path / "runs"), strict=True):
        ours = gemm(question, GemmOptions(scalesim=True))
        assert ours["scalesim_total_cycles"] == theirs["reported_total_cycles"], question
        assert {name: ours[name] for name in COUNTS} == {name: theirs[name] for name in COUNTS}, question
