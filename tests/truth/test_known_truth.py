"""The driver and the statistics against a device of known truth, under every disturbance that can be scripted.

``pytest --slow -s tests/truth`` prints the figures. Bias is against THE functional of infinitely many
rounds on the undisturbed device.
"""

from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="makes the graphs")

from truth.scripts import KINDS
from truth.simulated import Figures, programs, simulate

RUNS = 40
DRIFTING = ("slow drift", "small steps", "drift, steps and neighbour")
QUARANTINED = ("frequency steps", "neighbour", "clock jumps", "steal", "drift, steps and neighbour")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("truth")


def figures(kind: str, folder: Path, runs: int, items: int = 25) -> Figures:
    found = Figures()
    known = programs(folder, items)
    for seed in range(runs):
        found.add(*simulate(kind, seed, known, folder))
    print(f"\n{kind:26s} {found}", end="")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_is_found(kind: str, folder: Path) -> None:
    found = figures(kind, folder, RUNS)
    assert len(found.errors) >= 1000
    assert abs(found.bias) < 0.01
    assert found.coverage == pytest.approx(0.95, abs=found.coverage_tolerance)
    assert found.wrong == 0
    assert found.statuses["converged"] >= 0.8 * len(found.errors)
    if kind in DRIFTING:
        before, after = found.drift
        assert after <= before / 4
    if kind in QUARANTINED:
        assert found.found + found.missed >= 100
        assert found.precision >= 0.95
        assert found.recall >= 0.95
    else:
        assert found.found + found.falsely <= 0.002 * sum(found.rounds)


@pytest.mark.parametrize("kind", ["none", "slow drift", "frequency steps", "dying worker"])
def test_a_single_run_is_near_the_truth(kind: str, folder: Path) -> None:
    found = figures(kind, folder, runs=1, items=8)
    assert abs(found.bias) < 0.02
    assert found.wrong == 0
    assert found.coverage >= 0.7
    before, after = found.drift
    assert after <= max(0.005, before / 2)
