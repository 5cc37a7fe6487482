"""The search methods by name, and the one place that turns a name and settings into a searcher."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from hwnas.errors import SearchError
from hwnas.search.protocol import Costs, Limits, Searcher
from hwnas.space import Candidate, SearchSpace


class Settings(Protocol):
    """What every method's settings have: a budget, and a form for the journal."""

    @property
    def evaluations(self) -> int:
        """Most candidates that are evaluated."""
        ...

    def as_dict(self) -> Mapping[str, object]:
        """The fields by name."""
        ...


@runtime_checkable
class CostlySettings(Protocol):
    """Of a method that costs more than its evaluations."""

    def cost(self, pairs: int) -> int:
        """Evaluations of ``pairs`` pairs each that the whole search is worth, by forward passes."""
        ...


@dataclass(frozen=True, slots=True)
class Method:
    """Where a method is, as ``module:class``, and what it can do.

    ``searcher`` is ``None`` for those that learn by gradients (:mod:`hwnas.gradient`), which no loop asks.
    With ``costs`` it can be told of further objectives, and with ``front`` it is, if nothing else is asked for.
    """

    settings: str
    searcher: str | None
    summary: str
    costs: bool = False
    front: bool = False


METHODS: Mapping[str, Method] = {
    "evolution": Method(
        "hwnas.search.evolution:EvolutionSettings", "hwnas.search.evolution:Evolution", "HAT's evolution"
    ),
    "random": Method(
        "hwnas.search.random_search:RandomSettings", "hwnas.search.random_search:random_search", "the baseline"
    ),
    "nsga2": Method(
        "hwnas.search.fronts:Nsga2SearchSettings",
        "hwnas.search.fronts:Nsga2Search",
        "NSGA-II, several objectives",
        costs=True,
        front=True,
    ),
    "linas": Method(
        "hwnas.search.linas:LinasSettings",
        "hwnas.search.linas:Linas",
        "predictors in the loop of NSGA-II",
        costs=True,
        front=True,
    ),
    "bayes": Method(
        "hwnas.search.bayes:BayesSettings", "hwnas.search.bayes:Bayes", "model-based, by expected improvement"
    ),
    "reinforce": Method(
        "hwnas.search.reinforce:ReinforceSettings", "hwnas.search.reinforce:Reinforce", "policy gradient", costs=True
    ),
    "regularised": Method(
        "hwnas.search.regularised:RegularisedSettings", "hwnas.search.regularised:Regularised", "ageing evolution"
    ),
    "local": Method("hwnas.search.local:LocalSettings", "hwnas.search.local:LocalSearch", "downhill with restarts"),
    "exhaustive": Method(
        "hwnas.search.exhaustive:ExhaustiveSettings", "hwnas.search.exhaustive:Exhaustive", "all of a small space"
    ),
    "darts": Method("hwnas.gradient.darts:DartsSettings", None, "gradients of a mixture of all options"),
    "gumbel": Method("hwnas.gradient.gumbel:GumbelSettings", None, "gradients of noisy mixtures, or of one option"),
    "proxyless": Method("hwnas.gradient.proxyless:ProxylessSettings", None, "gradients of two sampled paths"),
}


def method_named(name: str) -> Method:
    """Raises :class:`SearchError` for an unknown name, listing those there are."""
    try:
        return METHODS[name]
    except KeyError:
        raise SearchError(f"search method {name!r} is unknown; known: {', '.join(METHODS)}") from None


def settings_of(name: str, given: Mapping[str, object], evaluations: int | None = None) -> Settings:
    """A method's settings with those ``given`` in place of its defaults, of ``evaluations`` at most (its own, if none).

    Values may be texts, as from a command line. Raises :class:`SearchError` for one it does not have, or cannot be.
    """
    kind = _loaded(method_named(name).settings)
    known = {field.name: field for field in fields(kind)}
    unknown = sorted(set(given) - set(known))
    if unknown:
        has = ", ".join(field for field in known if field != "evaluations")
        raise SearchError(f"method {name!r} has no setting {', '.join(unknown)}; it has: {has or 'none'}")
    values = {key: _parsed(name, key, str(known[key].type), value) for key, value in given.items()}
    if evaluations is None:
        return kind(**values)  # type: ignore[no-any-return]
    if method_named(name).searcher is None:
        raise SearchError(f"method {name!r} spends steps rather than evaluations; give steps and runners with --set")
    if hasattr(kind, "within"):
        return kind.within(evaluations, **values)  # type: ignore[no-any-return]
    return kind(**{"evaluations": evaluations, **values})  # type: ignore[no-any-return]


def cost_of(settings: Settings, evaluated: int, pairs: int) -> int:
    """Evaluations on ``pairs`` pairs each that a search is worth which ``evaluated`` so many: gradients count too."""
    return settings.cost(pairs) if isinstance(settings, CostlySettings) else evaluated


def searcher_of(
    name: str,
    space: SearchSpace,
    limits: Limits | None,
    settings: Settings,
    *,
    seed: int,
    probes: Sequence[Candidate] = (),
    exclude: Collection[Candidate] = (),
    costs: Costs | None = None,
) -> Searcher:
    """The searcher of a method that proposes and is told.

    Raises :class:`SearchError` for one that searches by gradients, or cannot take ``costs``.
    """
    method = method_named(name)
    if method.searcher is None:
        raise SearchError(f"method {name!r} searches by gradients; it proposes nothing to evaluate")
    require_costs(name, costs)
    more = {} if costs is None else {"costs": costs}
    make = _loaded(method.searcher)
    return make(space, limits, settings, seed=seed, probes=probes, exclude=exclude, **more)  # type: ignore[no-any-return]


def require_costs(name: str, costs: Costs | None) -> None:
    """Raise :class:`SearchError` if there are ``costs`` that the method cannot search for."""
    if costs is not None and not method_named(name).costs:
        several = ", ".join(known for known, method in METHODS.items() if method.costs)
        raise SearchError(
            f"method {name!r} searches for the loss alone, not for {', '.join(costs.names)}; these can: {several}"
        )


def _loaded(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _parsed(method: str, name: str, kind: str, value: object) -> object:
    """A text as the type that the field is annotated with; anything else as it is."""
    if not isinstance(value, str):
        return value
    kinds = [part.strip() for part in kind.split("|")]
    try:
        if "bool" in kinds:
            return {"true": True, "false": False}[value.lower()]
        if "int" in kinds:
            return int(value)
        if "float" in kinds:
            return float(value)
    except (KeyError, ValueError):
        told = " or ".join(kind for kind in kinds if kind != "None")
        raise SearchError(f"method {method!r}: {name} is {value!r}, which is no {told}") from None
    return value
