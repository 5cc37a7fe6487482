"""Every method behind ask and tell does what a searcher must, and the registry says what it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection

import pytest

from hwnas.errors import InfeasibleError, SearchError
from hwnas.search.methods import METHODS, searcher_of, settings_of
from hwnas.search.protocol import Limits, Searcher
from hwnas.space import Candidate, SearchSpace
from tests.contracts.searcher import SPACE, Make, SearcherContract, WidthLimit, run

SMALL: dict[str, dict[str, object]] = {
    "evolution": {},
    "nsga2": {"population": 10},
    "linas": {"initial": 20, "batch": 10, "population": 10, "generations": 3},
    "bayes": {"initial": 20, "batch": 10, "pool": 60},
    "reinforce": {},
    "regularised": {"population": 20, "tournament": 5},
    "local": {},
}


@pytest.mark.parametrize("method", SMALL)
class TestEveryMethodIsASearcher(SearcherContract):
    @pytest.fixture
    def make(self, method: str) -> Make:
        def make(
            space: SearchSpace,
            limits: Limits | None,
            *,
            seed: int = 0,
            evaluations: int = 60,
            exclude: Collection[Candidate] = (),
        ) -> Searcher:
            settings = settings_of(method, SMALL[method], evaluations)
            return searcher_of(method, space, limits, settings, seed=seed, exclude=exclude)

        return make

    def test_spends_exactly_its_budget(self, make: Make) -> None:
        for evaluations in (60, 61, 97):
            assert len(run(make(SPACE, None, evaluations=evaluations))) == evaluations


def test_exhaustive_search_tries_all_that_is_feasible_and_refuses_what_is_too_large() -> None:
    settings = settings_of("exhaustive", {})
    assert run(searcher_of("exhaustive", SPACE, None, settings, seed=0)) == list(SPACE)
    some = [c for c in SPACE if WidthLimit(4).allows(SPACE.encode_many([c]))[0]]
    assert run(searcher_of("exhaustive", SPACE, WidthLimit(4), settings, seed=0)) == some
    left_out = searcher_of("exhaustive", SPACE, WidthLimit(4), settings, seed=0, exclude=some[:3])
    assert run(left_out) == some[3:]
    with pytest.raises(InfeasibleError, match="cost <= -1"):
        run(searcher_of("exhaustive", SPACE, WidthLimit(-1), settings, seed=0))
    with pytest.raises(SearchError, match=r"has 336 candidates, too many .* \(more than 100\)"):
        searcher_of("exhaustive", SPACE, None, settings_of("exhaustive", {}, 100), seed=0)


def test_an_unknown_method_or_setting_is_told_with_those_there_are() -> None:
    with pytest.raises(SearchError, match="'magic' is unknown; known: evolution, random, nsga2, linas"):
        settings_of("magic", {})
    with pytest.raises(SearchError, match="method 'bayes' has no setting parents_; it has: initial, batch"):
        settings_of("bayes", {"parents_": "1"})
    with pytest.raises(SearchError, match="method 'bayes': batch is 'many', which is no int"):
        settings_of("bayes", {"batch": "many"})
    with pytest.raises(SearchError, match="'local' searches for the loss alone, not for latency_ms; these can: nsga2"):
        searcher_of("local", SPACE, None, settings_of("local", {}), seed=0, costs=Widths())


class Widths:
    names = ("latency_ms",)

    def __call__(self, genes):
        return 1.0 + genes.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.costs])
def test_those_that_can_are_told_of_costs(method: str) -> None:
    """With a cost among the objectives what they propose is cheaper than without."""
    settings = settings_of(method, {**SMALL[method], **({"exponent": -2.0} if method == "reinforce" else {})}, 80)
    told, alone = (
        run(searcher_of(method, SPACE, None, plain, seed=0, costs=costs), lambda c: 1 / sum(v for _, v in c.entries))
        for costs, plain in ((Widths(), settings), (None, settings_of(method, SMALL[method], 80)))
    )
    assert Widths()(SPACE.encode_many(told)).mean() < Widths()(SPACE.encode_many(alone)).mean()


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        ("linas", {"predictor": "oracle"}),
        ("linas", {"initial": 1}),
        ("bayes", {"surrogate": "oracle"}),
        ("bayes", {"pool": 1}),
        ("reinforce", {"learning_rate": 0.0}),
        ("reinforce", {"exponent": 1.0}),
        ("regularised", {"tournament": 0}),
        ("local", {"starts": 0}),
        ("nsga2", {"population": 1}),
        ("nsga2", {"evaluations": 1}),
        ("exhaustive", {"evaluations": 0}),
        ("evolution", {"parents": 0}),
    ],
)
def test_impossible_settings_are_refused(method: str, wrong: dict[str, object]) -> None:
    with pytest.raises(SearchError):
        searcher_of(method, SPACE, None, settings_of(method, wrong), seed=0)


@pytest.mark.parametrize("evaluations", [3, 30, 500, 860, 3125, 10_000])
def test_evolution_of_a_budget_spends_it_all(evaluations: int) -> None:
    settings = settings_of("evolution", {}, evaluations)
    assert settings.evaluations == evaluations
    assert settings_of("evolution", {}, 3125) == settings_of("evolution", {})


def test_evolution_of_a_budget_keeps_what_is_given() -> None:
    settings = settings_of("evolution", {"mutants": "10", "crossovers": "30", "mutation_probability": "0.1"}, 500)
    assert settings.as_dict() | {"population": 0, "iterations": 0, "parents": 0} == {
        "population": 0, "iterations": 0, "parents": 0, "mutants": 10, "crossovers": 30, "mutation_probability": 0.1,
    }  # fmt: skip
    with pytest.raises(SearchError, match="100 evaluations are not the population and 30 iterations"):
        settings_of("evolution", {"iterations": 30, "mutants": 5, "crossovers": 5}, 100)


def test_every_method_proposes_the_same_in_another_process_with_another_hash_seed() -> None:
    code = (
        "from tests.search.test_methods import *\n"
        "for m in SMALL: print(m, [c.entries for c in run(searcher_of(m, SPACE, WidthLimit(6),"
        " settings_of(m, SMALL[m], 45), seed=3))])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
        ).stdout
        for seed in ("0", "4242")
    }
    assert len(outputs) == 1
    assert outputs.pop().count("layers") == 45 * len(SMALL)
