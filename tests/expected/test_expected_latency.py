from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import latency_luts
from hwnas.errors import InfeasibleError, SpaceError
from hwnas.expected import ExpectedLatencies, ExpectedLatency
from hwnas.families import get_family
from hwnas.families.base import Term
from hwnas.latency import TableLatency, TableSum, decompose, operators_of
from hwnas.space import Choice, SearchSpace
from hwnas.spaces import load_space
from latency_luts import Calibration, LatencyLut, OperatorRow, OperatorSpec, Subject
from profiler.target import Target
from tests.expected.soft_architectures import enumerated, one_hot, random_logits, softmax
from tests.latency.tiny import TINY, WORKLOAD, TinyFamily, bounded_lut, tiny_lut

TABLES = Path(latency_luts.__file__).parent / "tables"
SMALL = {
    "name": "small",
    "family": "seq2seq",
    "workload": {"batch": 1, "beam": 1, "source_tokens": 5, "target_tokens": 4, "vocabulary": 11},
    "choices": {
        "encoder_embed": [16, 32],
        "encoder_layers": [1, 2],
        "encoder_ffn": [24, 48],
        "encoder_heads": [2],
        "decoder_embed": [16, 32],
        "decoder_layers": [1, 2],
        "decoder_ffn": [24, 48],
        "decoder_self_heads": [2],
        "decoder_cross_heads": [2, 4],
        "decoder_attended": [1],
    },
    "fixed": {"qkv": 32, "positions": 16},
}


@cache
def shipped(name: str) -> TableLatency:
    """The calibrated table of a shipped space as measured on a server's CPU."""
    space = load_space(name)
    lut = LatencyLut.load(TABLES / f"{name}_epyc_onnxruntime_1thread.jsonl")
    assert lut.calibration is not None
    return TableLatency.from_lut(space, get_family(space.family), lut)


@cache
def small(seed: int = 0) -> TableLatency:
    """A seq2seq space of some hundred candidates; two classes, an overhead, calls and streaming all count."""
    family = get_family("seq2seq")
    space = family.space(SMALL)
    rng = np.random.default_rng(seed)
    operators = operators_of(space, family, space.workload)
    rows = {op: OperatorRow(op, rng.uniform(0.01, 0.1), 1, 1, "sha", 0.0) for op in operators}
    target = Target("here", "runtime-1", 1, "thread_cpu")
    lut = LatencyLut(target, space.workload.as_dict(), Subject(space.name, space.fingerprint), rows)
    streamed = {op: rng.uniform(0, 3) for op in operators[::2]}
    calibration = Calibration(
        lut.latencies_ms, 0.02, 0.3, 0.004, {"all": 1.1, "ffn": 0.8}, {"decoder_ffn": "ffn"}, 9, None, 0.03, streamed
    )
    return TableLatency(space, family, lut, calibration)


def tiny() -> TableLatency:
    lut = tiny_lut()
    return TableLatency(
        TINY, TinyFamily(), lut, Calibration(lut.latencies_ms, 0.004, 0.02, 0.0005, {"all": 1.1}, {}, 8, None)
    )


@pytest.mark.parametrize("name", ["g2p", "hat_wmt14_ende"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_decided_architecture_has_the_calibrated_prediction_of_its_candidate(name: str, dtype: torch.dtype) -> None:
    latency = shipped(name)
    space, rng = latency.space, random.Random(0)
    genes = np.array([[rng.randrange(len(choice.values)) for choice in space.choices] for _ in range(1000)])
    expected = ExpectedLatency(latency)(one_hot(space, genes, dtype))
    assert expected.dtype == dtype
    np.testing.assert_allclose(expected, latency.latency_ms(space.encode_many(map(space.decode, genes))), rtol=1e-6)
    for gene, value in zip(genes[:100], expected, strict=False):  # and the long way, operator by operator
        paid = decompose(space, get_family(space.family), latency.workload, space.decode(gene))
        assert float(value) == pytest.approx(latency.calibration.predict(paid), rel=1e-6)


@pytest.mark.parametrize("table", [tiny, small])
def test_a_soft_architecture_has_the_weighted_sum_over_all_candidates(table: Callable[[], TableLatency]) -> None:
    latency = table()
    soft = softmax(random_logits(latency.space, 50))
    expected = ExpectedLatency(latency)(soft)
    candidates = list(latency.space)
    known = dict(zip(candidates, latency.latency_ms(latency.space.encode_many(candidates)), strict=True))
    for number, value in enumerate(expected):
        one = {name: p[number] for name, p in soft.items()}
        assert float(value) == pytest.approx(enumerated(latency.space, one, known.__getitem__), rel=1e-9)


def test_the_gradient_equals_central_differences() -> None:
    latency = shipped("g2p")
    expectation, step = ExpectedLatency(latency), 1e-4
    logits = {name: values.requires_grad_() for name, values in random_logits(latency.space, 200).items()}
    expectation(softmax(logits)).sum().backward()
    with torch.no_grad():
        for name, values in logits.items():
            assert values.grad is not None
            for option in range(values.shape[1]):
                nudge = torch.zeros_like(values)
                nudge[:, option] = step
                above, below = (expectation(softmax({**logits, name: values + d})) for d in (nudge, -nudge))
                difference = (above - below) / (2 * step)
                torch.testing.assert_close(values.grad[:, option], difference, rtol=1e-4, atol=1e-9)


def test_a_single_block_has_the_closed_form_of_proxylessnas() -> None:
    space = SearchSpace("block", "block", (Choice("operator", (3, 5, 7, 0)),), {}, WORKLOAD)
    terms = tuple(Term(OperatorSpec.of("convolution", size=k), 2, {"operator": i}) for i, k in enumerate((3, 5, 7)))
    latencies = torch.tensor([2.0, 3.0, 8.0, 0.0], dtype=torch.float64)  # the last is the zero operation
    cost = {term.operator: float(ms) / 2 for term, ms in zip(terms, latencies, strict=False)}
    logits = torch.tensor([0.3, -1.0, 0.5, 1.5], dtype=torch.float64, requires_grad=True)
    expected = ExpectedLatency(TableSum(space, terms, cost.__getitem__, 40.0))({"operator": logits.softmax(-1)})
    expected.backward()
    p = logits.detach().softmax(-1)
    mean = (p * latencies).sum()
    assert expected.item() == pytest.approx(40.0 + mean.item())
    torch.testing.assert_close(logits.grad, p * (latencies - mean))


def test_choices_of_layers_that_are_not_there_do_not_count() -> None:
    latency = shipped("g2p")
    logits = {name: values[0].clone().requires_grad_() for name, values in random_logits(latency.space, 2).items()}
    one_layer = {**softmax(logits), "decoder_layers": torch.tensor([1.0, 0.0, 0.0])}
    ExpectedLatency(latency)(one_layer).backward()
    for name, values in logits.items():
        if name in ("decoder_ffn.1", "decoder_cross_heads.2", "decoder_attended.1"):
            assert values.grad is not None
            assert (values.grad == 0).all()
        elif name in ("decoder_ffn.0", "encoder_ffn.2"):
            assert values.grad is not None
            assert (values.grad != 0).all()


def test_the_gradient_survives_where_a_probability_is_zero() -> None:
    latency = tiny()
    probabilities = {name: p[0].requires_grad_() for name, p in one_hot(TINY, np.zeros((1, 6), dtype=int)).items()}
    ExpectedLatency(latency)(probabilities).backward()
    grad = probabilities["layers"].grad
    assert grad is not None
    least = latency.of(TINY.decode([0, 0, 0, 0, 0, 0]))
    two = latency.of(TINY.decode([0, 1, 0, 0, 0, 0]))
    assert float(grad[1] - grad[0]) == pytest.approx(two - least)


@st.composite
def sums(draw: st.DrawFn) -> TableSum:
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))
    space = SearchSpace("s", "f", tuple(Choice(f"c{i}", tuple(range(n))) for i, n in enumerate(sizes)), {}, WORKLOAD)
    cell = st.dictionaries(st.sampled_from(range(len(sizes))), st.integers(0, 2), max_size=3)
    whens = draw(st.lists(cell, max_size=6))
    terms = tuple(
        Term(OperatorSpec.of("op", n=n + 1), n + 1, {f"c{i}": j % sizes[i] for i, j in when.items()})
        for n, when in enumerate(whens)
    )
    return TableSum(space, terms, lambda operator: 0.5 + dict(operator.sizes)["n"] ** 0.5, draw(st.floats(0, 3)))


@given(sums())
@settings(max_examples=40)
def test_any_sum_of_terms_is_expected_exactly(table: TableSum) -> None:
    soft = softmax(random_logits(table.space, 3))
    sizes = [range(len(choice.values)) for choice in table.space.choices]
    for number, value in enumerate(ExpectedLatency(table)(soft)):
        truth = 0.0
        for gene in product(*sizes):
            weight = np.prod([float(soft[f"c{i}"][number][index]) for i, index in enumerate(gene)])
            truth += weight * table(np.array([gene]))[0]
        assert float(value) == pytest.approx(truth)


def test_a_batch_equals_single_calls_and_shares_what_has_none() -> None:
    latency = small()
    expectation = ExpectedLatency(latency)
    soft = softmax(random_logits(latency.space, 5))
    shared = {**soft, "encoder_embed": soft["encoder_embed"][2]}
    batch = expectation(shared)
    assert batch.shape == (5,)
    for number in range(5):
        single = expectation({name: p if p.ndim == 1 else p[number] for name, p in shared.items()})
        assert single.shape == ()
        torch.testing.assert_close(single, batch[number])


def test_several_devices_at_once() -> None:
    first, second = small(0), small(1)
    space = first.space
    singles = {"fast": ExpectedLatency(first), "slow": ExpectedLatency(second)}
    soft = softmax(random_logits(space, 4))
    both = ExpectedLatencies(singles)(soft)
    assert list(both) == ["fast", "slow"]
    for name, single in singles.items():
        torch.testing.assert_close(both[name], single(soft))
    assert not torch.allclose(both["fast"], both["slow"])


def test_devices_need_not_pay_the_same_operators() -> None:
    cheap = TableSum(TINY, (Term(OperatorSpec.of("all", n=1), 3, {}),), lambda _: 2.0)
    singles = {"pays all": ExpectedLatency(tiny()), "pays one": ExpectedLatency(cheap)}
    soft = softmax(random_logits(TINY, 3))
    both = ExpectedLatencies(singles)(soft)
    torch.testing.assert_close(both["pays all"], singles["pays all"](soft))
    assert both["pays one"].tolist() == [6.0, 6.0, 6.0]


def test_energy_is_expected_as_latency_is() -> None:
    latency = TableLatency(TINY, TinyFamily(), bounded_lut())
    energy = latency.metric("energy_mj")
    candidates = list(TINY)
    genes = TINY.encode_many(candidates)
    expectation = ExpectedLatencies({"ms": ExpectedLatency(latency), "mJ": ExpectedLatency(energy)})
    decided = expectation(one_hot(TINY, genes))
    np.testing.assert_allclose(decided["mJ"], energy(genes), rtol=1e-12)
    np.testing.assert_allclose(decided["ms"], latency.latency_ms(genes), rtol=1e-12)
    soft = {name: p[0] for name, p in softmax(random_logits(TINY, 1)).items()}
    assert float(expectation(soft)["mJ"]) == pytest.approx(enumerated(TINY, soft, energy.of))


def test_it_has_nothing_to_learn_or_to_store() -> None:
    expectation = ExpectedLatency(tiny())
    assert not list(expectation.parameters())
    assert not expectation.state_dict()


def without(name: str, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {other: p for other, p in given.items() if other != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (partial(without, "layers"), "every choice of space 'tiny'; see layers"),
        (lambda given: {**given, "width": torch.ones(1)}, "see width"),
        (lambda given: {**given, "layers": torch.ones(2) / 2}, r"'layers' have shape \(2,\), not \(3,\)"),
        (lambda given: {**given, "layers": torch.ones(1, 1, 3) / 3}, r"have shape \(1, 1, 3\)"),
        (lambda given: {**given, "layers": torch.ones(7, 3) / 3}, r"batches of \[2, 7\]"),
    ],
)
def test_other_probabilities_than_the_spaces_are_refused(
    change: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]], message: str
) -> None:
    given = softmax(random_logits(TINY, 2))
    with pytest.raises(SpaceError, match=message):
        ExpectedLatency(tiny())(change(given))


def test_terms_that_look_at_inactive_choices_are_refused() -> None:
    layers, ffn = {"layers": 1}, {"ffn.1": 2}
    operator = OperatorSpec.of("ffn", ffn=32)
    gated = TableSum(TINY, (Term(operator, 1, {**layers, **ffn}),), lambda _: 1.0)
    assert ExpectedLatency(gated)(softmax(random_logits(TINY, 1))).shape == (1,)
    for when in (ffn, {"layers": 0, **ffn}):
        with pytest.raises(SpaceError, match=r"look at 'ffn.1' where it is inactive \(layers below 2\)"):
            ExpectedLatency(TableSum(TINY, (Term(operator, 1, when),), lambda _: 1.0))


def test_tables_of_other_spaces_do_not_mix() -> None:
    other = replace(TINY, choices=TINY.choices[:3])
    single = ExpectedLatency(TableSum(other, (), lambda _: 1.0, 1.0))
    with pytest.raises(SpaceError, match="tables of different spaces"):
        ExpectedLatencies({"one": ExpectedLatency(tiny()), "other": single})
    with pytest.raises(SpaceError, match="give at least one"):
        ExpectedLatencies({})


def test_a_target_out_of_reach_is_refused_with_the_range() -> None:
    latency = shipped("g2p")
    fastest, slowest = latency.fastest(), latency.slowest()
    assert fastest is not None
    assert slowest is not None
    expectation = ExpectedLatency(latency)
    for target in (fastest[0], 0.3, slowest[0]):
        expectation.require_reachable(target)
    for target in (0.9 * fastest[0], 1.1 * slowest[0], float("nan")):
        with pytest.raises(InfeasibleError, match=f"{fastest[0]:.4g} to {slowest[0]:.4g} ms; choose one in between"):
            expectation.require_reachable(target)
