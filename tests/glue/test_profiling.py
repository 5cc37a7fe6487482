"""What is measured for a space: which whole models, which operators, from which cached graphs."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas import profiling
from hwnas.families.base import GraphStage
from hwnas.families.fingerprint import code_fingerprint
from hwnas.latency import decompose, operators_of
from hwnas.profiling import build_plan, model_item
from hwnas.sampling import ModelChoice, Sampling, choose_models
from hwnas.space import Choice, SearchSpace
from hwnas.spaces import load_space
from latency_luts import DISPATCH, LutMismatchError
from profiler import LocalDevice, Program, Target
from tests.contracts import graphs
from tests.glue.stand_in import StandInExporter
from tests.latency.tiny import TINY, TinyFamily
from tests.training.toy import FAMILY, SPACE


@given(seed=st.integers(0, 1000), calibration=st.integers(0, 12), check=st.integers(0, 12))
def test_no_check_model_is_a_calibration_model(seed: int, calibration: int, check: int) -> None:
    models = choose_models(TINY, Sampling(calibration=calibration, check=check, seed=seed))
    roles = [model.role for model in models]
    assert (roles.count("calibration"), roles.count("check")) == (calibration, check)
    assert len({model.candidate for model in models}) == len(models)
    if calibration >= 2:
        fitted = {model.candidate for model in models if model.role == "calibration"}
        assert {TINY.extreme(0), TINY.extreme(-1)} <= fitted


def test_the_choice_follows_from_the_seed_alone() -> None:
    first, again, other = (choose_models(SPACE, Sampling(seed=seed)) for seed in (3, 3, 4))
    assert first == again != other


def test_more_check_models_keep_the_ones_before() -> None:
    few, many = (choose_models(SPACE, Sampling(check=check)) for check in (5, 20))
    assert many[: len(few)] == few


def test_a_space_smaller_than_the_wish_gives_what_it_has() -> None:
    space = SearchSpace("two", "tiny", (Choice("width", (1, 2)),), {}, TINY.workload)
    models = choose_models(space, Sampling(calibration=10, check=10))
    assert models == (
        ModelChoice(space.extreme(0), "calibration"),
        ModelChoice(space.extreme(-1), "calibration"),
    )


def test_extra_models_are_measured_once() -> None:
    known = choose_models(SPACE, Sampling(calibration=3, check=2))
    new = next(c for c in SPACE if c not in {model.candidate for model in known})
    sampling = Sampling(calibration=3, check=2, extra=(known[0].candidate, new, new))
    assert choose_models(SPACE, sampling) == (*known, ModelChoice(new, "extra"))


def test_a_program_is_wired_as_the_family_says(tmp_path: Path) -> None:
    first, second = graphs.linear(tmp_path / "a.onnx"), graphs.counting(tmp_path / "b.onnx")
    stages = (
        GraphStage("a"),
        GraphStage("b", 7, {"memory": "a.y"}, {"past": "grown"}, {"past": (0, 8)}, "step"),
    )
    program = profiling.program_of(stages, {"a": first, "b": second})
    assert [stage.artifact for stage in program.stages] == [first, second]
    assert [stage.name for stage in program.stages] == ["a", "b"]
    loop = program.stages[1]
    assert (loop.repeat, loop.feeds, loop.carry) == (7, {"memory": "a.y"}, {"past": "grown"})
    assert (loop.initial, loop.counter) == ({"past": (0, 8)}, "step")
    longer = profiling.program_of((stages[0], replace(stages[1], repeat=8)), {"a": first, "b": second})
    assert longer.sha256 != program.sha256


def test_a_plan_has_every_operator_and_whole_models_with_what_they_pay(tmp_path: Path) -> None:
    workload, exporter, shown = SPACE.workload, StandInExporter(), []
    sampling = Sampling(rounds=4, samples=2, calibration=2, check=1, seed=5, memory_limit_mib=100)
    plan = build_plan(SPACE, FAMILY, workload, sampling, exporter, tmp_path, lambda *seen: shown.append(seen))
    operators = operators_of(SPACE, FAMILY, workload)
    assert [item.name for item in plan.items[: 1 + len(operators)]] == [str(DISPATCH), *map(str, operators)]
    models = plan.items[1 + len(operators) :]
    assert [item.meta["role"] for item in models] == ["calibration", "calibration", "check"]
    for item, choice in zip(models, choose_models(SPACE, sampling), strict=True):
        paid = decompose(SPACE, FAMILY, workload, choice.candidate)
        assert item.name == choice.candidate.key
        assert item.meta["candidate"] == choice.candidate.as_dict()
        assert item.meta["operators"] == {str(operator): count for operator, count in paid.items()}
        assert set(paid) <= set(operators)
        encoder, decoder = item.program.stages
        assert (encoder.repeat, decoder.repeat) == (1, workload.target_tokens)
    assert (plan.rounds, plan.samples, plan.seed, plan.memory_limit_bytes) == (4, 2, 5, 100 * 2**20)
    total = len(plan.items)
    assert [done for done, _, _ in shown] == list(range(total + 1))
    assert {of for _, of, _ in shown} == {total}


def test_a_plan_may_leave_operators_out(tmp_path: Path) -> None:
    plan = build_plan(
        SPACE, FAMILY, SPACE.workload, Sampling(calibration=0, check=1), StandInExporter(), tmp_path,
        profiling.quietly, operators=(),
    )  # fmt: skip
    assert [item.role for item in plan.items] == ["operator", "model"]
    assert plan.items[0].name == str(DISPATCH)


class Counted:
    """The toy's family, counting how often a model is built."""

    def __init__(self) -> None:
        self.built = 0

    def __getattr__(self, name: str):
        return getattr(FAMILY, name)

    def model(self, *arguments):
        self.built += 1
        return FAMILY.model(*arguments)


def item(cache: Path, *, family=FAMILY, workload=SPACE.workload, code="code-1", which=0) -> tuple[Program, list[str]]:
    exporter = StandInExporter()
    choice = ModelChoice(SPACE.extreme(which), "check")
    return model_item(SPACE, family, workload, choice, exporter, cache, code).program, exporter.exported


def test_a_whole_model_is_built_and_exported_once(tmp_path: Path) -> None:
    family = Counted()
    first, exported = item(tmp_path, family=family)
    assert (family.built, exported) == (1, ["EncoderGraph", "DecoderStepGraph"])
    again, exported = item(tmp_path, family=family)
    assert (family.built, exported) == (1, [])
    assert again == first


def test_other_code_workload_or_candidate_is_exported_anew(tmp_path: Path) -> None:
    item(tmp_path)
    longer = replace(SPACE.workload, target_tokens=9, cache=4)
    for changed in ({"code": "code-2"}, {"workload": longer}, {"which": -1}):
        program, exported = item(tmp_path, **changed)  # type: ignore[arg-type]
        assert exported == ["EncoderGraph", "DecoderStepGraph"], changed
        assert program.stages[1].repeat == changed.get("workload", SPACE.workload).target_tokens  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", [".stages.json", ".onnx"])
def test_what_is_damaged_in_the_cache_is_made_again(tmp_path: Path, suffix: str) -> None:
    whole, _ = item(tmp_path)
    for path in tmp_path.iterdir():
        if path.name.endswith(suffix):
            path.write_bytes(path.read_bytes()[:20])
    again, exported = item(tmp_path)
    assert again == whole
    assert len(exported) == (0 if suffix == ".stages.json" else 2)


def family_in(path: Path, source: str) -> object:
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("mine_of_tests", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mine_of_tests"] = module
    spec.loader.exec_module(module)
    return module.Mine()


def test_the_code_of_a_family_has_a_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    path = tmp_path / "mine.py"
    try:
        first = code_fingerprint(family_in(path, "class Mine:\n    a = 1\n"))  # type: ignore[arg-type]
        changed = code_fingerprint(family_in(path, "class Mine:\n    a = 2\n"))  # type: ignore[arg-type]
        back = code_fingerprint(family_in(path, "class Mine:\n    a = 1\n"))  # type: ignore[arg-type]
        monkeypatch.setattr(torch, "__version__", "0.0")
        assert first == back != changed
        assert code_fingerprint(family_in(path, "class Mine:\n    a = 1\n")) != first  # type: ignore[arg-type]
    finally:
        sys.modules.pop("mine_of_tests", None)


def test_a_family_made_of_the_shipped_ones_changes_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hwnas.families

    shipped = tmp_path / "shipped"
    (shipped / "seq2seq").mkdir(parents=True)
    modules = shipped / "seq2seq" / "modules.py"
    modules.write_text("a = 1\n")
    monkeypatch.setattr(hwnas.families, "__file__", str(shipped / "__init__.py"))
    try:
        mine = family_in(tmp_path / "mine.py", "class Mine:\n    pass\n")
        first = code_fingerprint(mine)  # type: ignore[arg-type]
        assert code_fingerprint(mine) == first  # type: ignore[arg-type]
        modules.write_text("a = 2\n")
        assert code_fingerprint(mine) != first  # type: ignore[arg-type]
    finally:
        sys.modules.pop("mine_of_tests", None)


def test_the_estimate_grows_with_what_is_asked() -> None:
    def seconds(**changes: int) -> float:
        sampling = Sampling(half_width=None, **{"rounds": 15, **changes})  # type: ignore[arg-type]
        return profiling.estimate_s(SPACE, FAMILY, SPACE.workload, sampling)

    assert 0 < seconds(rounds=5) < seconds(rounds=10) < seconds(rounds=10, samples=10)
    assert seconds(check=5) < seconds(check=40)
    operators = len(operators_of(SPACE, FAMILY, SPACE.workload))
    least_s = operators * 15 * 5 * 2e-3  # what the samples of the operators alone take
    assert least_s < seconds(calibration=0, check=0) < 5 * least_s
    adaptive = profiling.estimate_s(SPACE, FAMILY, SPACE.workload, Sampling())
    assert seconds(rounds=10) < adaptive < seconds(rounds=20)
    budget = profiling.estimate_s(SPACE, FAMILY, SPACE.workload, Sampling(budget_s=1.0))
    assert 1.0 < budget < adaptive


def test_an_operator_is_as_important_as_often_as_it_is_paid() -> None:
    """Against the mean over every candidate of a space, where each value of a choice is equally likely."""
    uses = profiling.expected_uses(TINY, TinyFamily(), TINY.workload)
    terms = TinyFamily().terms(TINY, TINY.workload)
    every = list(itertools.product(*(range(len(choice.values)) for choice in TINY.choices)))
    for operator, use in uses.items():
        paid = [
            sum(
                t.count
                for t in terms
                if t.operator == operator and all(g[TINY.index[n]] == i for n, i in t.when.items())
            )
            for g in every
        ]
        assert use == pytest.approx(sum(paid) / len(paid))
    assert set(uses) == set(operators_of(TINY, TinyFamily(), TINY.workload))


def test_a_journal_stands_beside_its_table() -> None:
    assert profiling.journal_of(Path("runs/x86.lut.jsonl")) == Path("runs/x86.lut.journal.jsonl")
    assert profiling.journal_of(Path("table")) == Path("table.journal.jsonl")


def test_calibration_models_hold_every_value_about_equally_often() -> None:
    """Ten uniform draws of HAT's space held two narrow decoders, and the table was off by 10 % on such."""
    space = load_space("hat_wmt14_ende")
    for seed in range(5):
        models = choose_models(space, Sampling(calibration=10, check=20, seed=seed))
        calibration = [model.candidate for model in models if model.role == "calibration"]
        assert len(calibration) == 10
        for name in ("encoder_embed", "decoder_embed"):
            assert 4 <= sum(candidate[name] == 512 for candidate in calibration) <= 6
        depths = [candidate["decoder_layers"] for candidate in calibration]
        assert len(set(depths)) >= 5
        assert max(depths.count(depth) for depth in depths) <= 3


@pytest.mark.parametrize("on_gpu", [True, False])
def test_a_table_of_a_processor_is_none_of_a_gpu(on_gpu: bool) -> None:
    device = LocalDevice(name="here", kind="local", runtime="torch", provider="cuda" if on_gpu else "cpu", clock="wall")
    of_cpu, of_gpu = (Target("here", f"torch-2.13.0{build}", 1, "wall") for build in ("", "+cuda"))
    profiling.require_target(of_gpu if on_gpu else of_cpu, device)
    with pytest.raises(LutMismatchError, match="'here' is torch" + (" on a GPU" if on_gpu else " with threads=1")):
        profiling.require_target(of_cpu if on_gpu else of_gpu, device)
