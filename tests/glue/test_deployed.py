"""A family as a runtime deploys it: the same family, in a precision and with fixed shapes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import SpaceError
from hwnas.families import get_family
from hwnas.families.deployed import Deployed, as_deployed, as_in_table, precision_in
from hwnas.families.fingerprint import code_fingerprint
from hwnas.latency import TableLatency, operators_of
from hwnas.profiling import build_plan, quietly
from hwnas.sampling import Sampling
from hwnas.spaces import load_space
from latency_luts import DISPATCH, OperatorSpec
from profiler.target import Target
from tests.glue.stand_in import StandInExporter
from tests.latency.tiny import TINY, TinyFamily, tiny_lut
from tests.training.toy import FAMILY, SPACE

SEQ2SEQ = get_family("seq2seq")


@pytest.mark.parametrize(
    ("runtime", "precision", "fixed", "found"),
    [
        ("litert", None, True, "fp32"),
        ("litert", "int8", True, "int8"),
        ("ethos-u", None, True, "int8"),
        ("onnxruntime", "int8", False, "int8"),
    ],
)
def test_each_runtime_has_its_form(runtime: str, precision: str | None, fixed: bool, found: str) -> None:
    family = as_deployed(SEQ2SEQ, runtime, precision)
    assert isinstance(family, Deployed)
    assert (family.fixed, family.precision) == (fixed, found)
    assert as_deployed(family, "onnxruntime", "fp32") is family
    assert precision_in(family) == found
    assert code_fingerprint(family) == code_fingerprint(SEQ2SEQ)


def test_what_needs_nothing_stays_as_it_is() -> None:
    for runtime in ("onnxruntime", "systolic"):
        assert as_deployed(SEQ2SEQ, runtime) is SEQ2SEQ
    assert precision_in(SEQ2SEQ) == "fp32"


def test_operators_are_those_of_the_family_but_for_precision_and_cache() -> None:
    space = load_space("g2p")
    plain = operators_of(space, SEQ2SEQ, space.workload)
    int8 = operators_of(space, Deployed(SEQ2SEQ, "int8", False), space.workload)
    assert tuple(replace(operator, precision="fp32") for operator in int8) == plain
    fixed = operators_of(space, Deployed(SEQ2SEQ, "fp32", True), space.workload)
    assert len(fixed) == len(plain)
    full = space.workload.target_tokens - 1
    assert {operator["cache"] for operator in fixed if operator.kind == "decoder_self_attention"} == {full}
    assert {o for o in fixed if "cache" not in dict(o.sizes)} == {o for o in plain if "cache" not in dict(o.sizes)}


def test_modules_are_asked_for_in_fp32() -> None:
    torch = pytest.importorskip("torch", reason="makes the modules")
    space = load_space("g2p")
    family = Deployed(SEQ2SEQ, "int8", True)
    for operator in operators_of(space, family, space.workload)[::9]:
        module, inputs = family.module(operator)
        with torch.inference_mode():
            module(*inputs.tensors.values())
        assert ("mask" in inputs.tensors) or operator.kind not in {"decoder_self_attention", "decoder_cross_attention"}


def test_a_family_without_fixed_shapes_has_operators_but_no_graphs() -> None:
    class Own(TinyFamily):
        def module(self, operator: OperatorSpec) -> OperatorSpec:
            return operator

    family = as_deployed(Own(), "litert", "int8")
    operator = operators_of(TINY, family, TINY.workload)[0]
    assert (operator.precision, family.module(operator).precision) == ("int8", "fp32")
    with pytest.raises(SpaceError, match=r"Own has no graphs of fixed shapes .*--calibration 0 --check 0"):
        family.graphs(None, TINY.workload)


def test_artifacts_are_exported_in_the_precision_of_their_operators(tmp_path: Path) -> None:
    class Remembers(StandInExporter):
        def export(self, module, inputs, path, *, precision="fp32"):
            asked.append(precision)
            return super().export(module, inputs, path, precision=precision)

    for precision in ("fp32", "int8"):
        asked: list[str] = []
        family = Deployed(FAMILY, precision, False)
        sampling = Sampling(calibration=0, check=2)
        plan = build_plan(SPACE, family, SPACE.workload, sampling, Remembers(), tmp_path / precision, quietly)
        others = len(plan.items) - 1 - 2
        graphs = sum(len(item.program.stages) for item in plan.items[-2:])
        assert asked == [DISPATCH.precision, *[precision] * (others + graphs)]


def test_a_table_says_in_which_form_its_operators_were() -> None:
    plain = tiny_lut()
    rows = {
        replace(operator, precision=operator.precision if operator == DISPATCH else "int8"): row
        for operator, row in plain.rows.items()
    }
    table = replace(plain, rows={op: replace(row, operator=op) for op, row in rows.items()})
    genes = np.array([TINY.encode(TINY.extreme(0)), TINY.encode(TINY.extreme(-1))])
    expected = TableLatency(TINY, TinyFamily(), plain).latency_ms(genes)
    assert np.array_equal(TableLatency(TINY, TinyFamily(), table).latency_ms(genes), expected)
    litert = replace(table, target=Target("here", "litert-2.3.0", 1, "thread_cpu"))
    assert as_in_table(TinyFamily(), litert).fixed
    npu = replace(table, target=Target("npu", "ethos-u-5.2.0+0011aabb", 1, "estimated"))
    assert as_in_table(TinyFamily(), npu).fixed
    assert not as_in_table(TinyFamily(), table).fixed
