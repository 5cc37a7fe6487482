"""Known figures of the engine ethos-u; a check takes the module, so that a mutated one can be given."""

from pathlib import Path

import pytest

from exporters import Artifact
from profiler.simulators.estimate import Provenance

GOLDEN = Path(__file__).parents[1] / "golden" / "tflite"
LAYER = {
    "Op Cycles": 400, "NPU": 300, "SRAM AC": 350, "DRAM AC": 1, "OnFlash AC": 2, "OffFlash AC": 90, "MAC Count": 96,
    "Staging Usage": 64, "Util% (MAC)": 25.0, "Original Operator": "Add", "Target": "NPU", "Name": "a",
}  # fmt: skip


class OneLayer:
    """In Vela's place."""

    def compile(self, path, parameters):
        return {"summary": {"core_clock": "500000000.0"}, "layers": [LAYER], "cpu": {}}


def check_ethos_u(module):
    given = module.Parameters(
        accelerator="ethos-u55-128", system_config="Ethos_U55_High_End_Embedded", memory_mode="Shared_Sram"
    )
    engine = module.EthosU(given, Provenance("ethos-u", "1", "c", "vendor-estimate"), None, OneLayer())
    (found,) = engine.estimate(Artifact.load(GOLDEN / "feed-int8.tflite")).primitives
    assert found.latency_ms == pytest.approx(1e3 * 400 / 500e6, rel=1e-12)
    assert found.detail["utilisation"] == pytest.approx(0.25, rel=1e-12)
    assert found.detail["macs"] == 96


CHECKS = {"profiler.simulators.ethos_u": check_ethos_u}
