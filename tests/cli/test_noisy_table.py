"""Whoever made a table on a busy machine is told so, and what to do."""

from dataclasses import replace

import pytest

from hwnas.cli.lut import describe
from latency_luts import DISPATCH, LatencyLut, OperatorRow, OperatorSpec, Subject, WholeModel
from profiler.target import Target

LAYER = OperatorSpec.of("layer", embed=8)


def table_with_halves_apart_by(share):
    def model(calls):
        latency_ms = 0.05 + 0.01 * calls
        halves_ms = (latency_ms * (1 - share / 2), latency_ms * (1 + share / 2))
        return WholeModel(
            f"m{calls}", "calibration", {"layers": calls}, {LAYER: calls}, latency_ms, halves_ms, 4, 20, "sha", 0.0
        )

    return LatencyLut(
        target=Target("here", "onnxruntime-1.32.0", 1, "thread_cpu"),
        workload={"batch": 1},
        subject=Subject("g2p", "abc"),
        rows={spec: OperatorRow(spec, ms, 4, 20, "sha", 0.0) for spec, ms in ((DISPATCH, 0.002), (LAYER, 0.012))},
        models=tuple(model(calls) for calls in (1, 2, 3, 4)),
        environment={},
        created="2026-01-01T00:00:00+00:00",
        rounds=4,
    ).calibrated()


@pytest.mark.parametrize(("share", "noisy"), [(0.02, False), (0.09, False), (0.3, True)])
def test_a_noisy_table_says_so(share, noisy):
    told = [line for line in describe(table_with_halves_apart_by(share)).splitlines() if line.startswith("NOISY")]
    assert len(told) == noisy
    if noisy:
        assert "30%" in told[0]
        assert "--rounds" in told[0]


@pytest.mark.parametrize("version", ["1.32.0", "1.32.0+cuda"])
def test_a_table_of_a_gpu_is_called_unproven(version):
    table = table_with_halves_apart_by(0.01)
    table = replace(table, target=replace(table.target, runtime=f"onnxruntime-{version}"))
    assert ("UNPROVEN: measured on a GPU" in describe(table)) == version.endswith("+cuda")
