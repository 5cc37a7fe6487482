"""The joint search: costs that equal a table's, a front that equals the truth, limits, and interruptions."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hwnas.candidates import read_candidate
from hwnas.cosearch import FRONT, JOURNAL, CoSearchRequest, PairLimits, co_search, joint_space
from hwnas.design_costs import DesignCosts, export_operators
from hwnas.design_space import DesignSpace
from hwnas.errors import AcceleratorError, InfeasibleError, SearchError
from hwnas.estimating import estimate_space
from hwnas.latency import TableLatency
from hwnas.limits import CandidateLimits
from hwnas.sampling import Sampling
from hwnas.search.nsga2 import Nsga2Settings
from hwnas.search.protocol import one_by_one
from hwnas.space import Candidate, SearchSpace
from profiler import load_devices
from profiler.simulators.device import SimulatedDevice
from tests.training.toy import FAMILY, SPACE

ARRAY = SimulatedDevice(
    name="array",
    kind="simulated",
    engine="systolic",
    parameters={
        "rows": 8,
        "cols": 8,
        "dataflow": "ws",
        "clock_hz": 1e8,
        "dram_bytes_per_s": 1e9,
        "filter_kib": 1,
        "takes": ["fp32"],
    },
)
DESIGNS = DesignSpace(ARRAY, {"rows": (4, 8, 128), "dataflow": ("ws", "os"), "dram_bytes_per_s": (1e9, 4e9)})
EVERY = Nsga2Settings(population=60, generations=200)
FEW = Nsga2Settings(population=10, generations=4)


def narrowed() -> SearchSpace:
    """The toy space with its first values alone but for three choices: 8 networks."""
    kept = {"encoder_embed", "decoder_layers", "decoder_ffn.0"}
    choices = tuple(c if c.name in kept else replace(c, values=c.values[:1]) for c in SPACE.choices)
    return replace(SPACE, name="narrow", choices=choices)


NARROW = narrowed()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def make_costs(cache: Path, space: SearchSpace = NARROW, designs: DesignSpace = DESIGNS) -> DesignCosts:
    artifacts = export_operators(space, FAMILY, space.workload, designs.device, cache)
    return DesignCosts(space, FAMILY, space.workload, designs, artifacts, cache)


@pytest.fixture
def costs(cache: Path) -> DesignCosts:
    return make_costs(cache)


def loss_of(network: Candidate) -> float:
    """Falls with size, and depends on more than the size."""
    return 3 - sum(math.log(value) for _, value in network.entries) / 10 + int(network.key[:4], 16) / 1e6


@dataclass
class Loss:
    """Counts how often it is asked, and can be interrupted."""

    until: int | None = None
    asked: list[Candidate] = field(default_factory=list)

    def __call__(self, network: Candidate) -> float:
        if self.until is not None and len(self.asked) >= self.until:
            raise KeyboardInterrupt
        self.asked.append(network)
        return loss_of(network)


def limits_of(costs: DesignCosts, space: SearchSpace = NARROW, **limits: float) -> PairLimits:
    network = {name: value for name, value in limits.items() if name in ("params_m", "peak_memory_mib")}
    pair = {name: value for name, value in limits.items() if name not in network}
    return PairLimits(CandidateLimits(space, FAMILY, space.workload, **network), costs, **pair)  # type: ignore[arg-type]


def request(settings: Nsga2Settings = FEW, seed: int = 0) -> CoSearchRequest:
    return CoSearchRequest("test", settings, seed)


def brute_force(costs: DesignCosts, names: tuple[str, ...], **most: float) -> set[tuple[float, ...]]:
    """Objectives on the true front: every network with every possible design, each told by itself."""
    found = []
    for network in NARROW:
        for positions in itertools.product(*(range(len(values)) for values in DESIGNS.values.values())):
            gene = [*NARROW.encode(network), *positions]
            joint = joint_space(NARROW, costs)
            pair = joint.encode_many([joint.decode(gene)])
            if costs.possible(pair)[0]:
                latency_ms, energy_mj = costs(pair)[0]
                figures = {"loss": loss_of(network), "latency_ms": latency_ms, "energy_mj": energy_mj}
                figures["area_mm2"] = DESIGNS.design(positions).area_mm2
                if all(figures[name] <= value for name, value in most.items()):
                    found.append(tuple(figures[name] for name in names))
    return {p for p in found if not any(all(a <= b for a, b in zip(o, p, strict=True)) and o != p for o in found)}


def test_a_pair_costs_what_the_table_of_its_device_says(costs: DesignCosts, cache: Path, tmp_path: Path) -> None:
    joint = joint_space(NARROW, costs)
    for positions in ((0, 0, 0), (1, 1, 1), (2, 1, 0)):
        device = DESIGNS.design(positions).device
        table = estimate_space(
            NARROW, FAMILY, NARROW.workload, device, tmp_path / f"{device.name}.jsonl", Sampling(check=0), cache=cache
        )
        latency = TableLatency.from_lut(NARROW, FAMILY, table)
        networks = list(NARROW)
        genes = joint.encode_many([joint.decode([*NARROW.encode(n), *positions]) for n in networks])
        found = costs(genes)
        assert list(found[:, 0]) == pytest.approx([latency.of(network) for network in networks], rel=1e-12)
        energy = latency.metric("energy_mj")
        assert list(found[:, 1]) == pytest.approx([energy.of(network) for network in networks], rel=1e-12)


def test_with_a_budget_for_everything_the_front_is_the_true_one(costs: DesignCosts, tmp_path: Path) -> None:
    loss = Loss()
    outcome = co_search(NARROW, one_by_one(loss), limits_of(costs), request(EVERY), tmp_path)
    names = ("loss", "latency_ms", "energy_mj")
    assert outcome.objectives == names
    assert {pair.objectives(names) for pair in outcome.front} == brute_force(costs, names)
    assert outcome.networks == len(loss.asked) == len(set(loss.asked)) == NARROW.size() == 8
    assert outcome.designs == 10
    assert outcome.evaluated == 80
    assert len(outcome.refused) == 2  # 128 x 8 words of weights in half a KiB
    assert all("the filter buffer holds" in why for why in outcome.refused)
    assert [pair.loss for pair in outcome.front] == sorted(pair.loss for pair in outcome.front)


def test_other_objectives(cache: Path, tmp_path: Path) -> None:
    names = ("loss", "latency_ms", "area_mm2")
    costs = make_costs(cache, designs=replace(DESIGNS, objectives=names))
    outcome = co_search(NARROW, one_by_one(loss_of), limits_of(costs), request(EVERY), tmp_path)
    assert {pair.objectives(names) for pair in outcome.front} == brute_force(costs, names)


def test_limits_are_kept_and_those_that_nothing_meets_refused(costs: DesignCosts, tmp_path: Path) -> None:
    free = co_search(NARROW, one_by_one(loss_of), limits_of(costs), request(EVERY), tmp_path / "free").front
    latency_ms, energy_mj = (sorted(getattr(p, n) for p in free)[len(free) // 2] for n in ("latency_ms", "energy_mj"))
    limits = limits_of(costs, latency_ms=latency_ms, energy_mj=energy_mj)
    held = co_search(NARROW, one_by_one(loss_of), limits, request(EVERY), tmp_path / "held")
    assert f"latency <= {latency_ms:g} ms, energy <= {energy_mj:g} mJ" in held.limits
    names = ("loss", "latency_ms", "energy_mj")
    expected = brute_force(costs, names, latency_ms=latency_ms, energy_mj=energy_mj)
    assert {pair.objectives(names) for pair in held.front} == expected
    with pytest.raises(InfeasibleError, match="latency <= 1e-06 ms"):
        co_search(NARROW, one_by_one(loss_of), limits_of(costs, latency_ms=1e-6), request(), tmp_path / "never")
    with pytest.raises(InfeasibleError, match="limit energy_mj is 0"):
        limits_of(costs, energy_mj=0)
    memory = sorted(pair.peak_memory_mib for pair in free)
    lean = limits_of(costs, peak_memory_mib=memory[0])
    outcome = co_search(NARROW, one_by_one(loss_of), lean, request(EVERY), tmp_path / "lean")
    assert {pair.peak_memory_mib for pair in outcome.front} == {memory[0]}
    with pytest.raises(InfeasibleError, match="peak memory is out of reach"):
        co_search(NARROW, one_by_one(loss_of), limits_of(costs, peak_memory_mib=1e-6), request(), tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_interrupted_anywhere_it_repeats_nothing_and_ends_the_same(cache: Path, tmp_path: Path) -> None:
    undisturbed = Loss()
    settings = request(FEW, seed=3)
    co_search(SPACE, one_by_one(undisturbed), limits_of(make_costs(cache, SPACE), SPACE), settings, tmp_path / "whole")
    assert len(undisturbed.asked) > 20
    asked: list[Candidate] = []
    for until in (0, 1, 7, 5, None):
        loss = Loss(until)
        try:
            co_search(
                SPACE, one_by_one(loss), limits_of(make_costs(cache, SPACE), SPACE), settings, tmp_path / "broken"
            )
        except KeyboardInterrupt:
            assert until is not None
        asked += loss.asked
    assert asked == undisturbed.asked
    for name in (FRONT, JOURNAL, "devices.yaml"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    other = CoSearchRequest("other weights", FEW, 3)
    with pytest.raises(SearchError, match=r"is of another search .evaluator is 'test' there"):
        co_search(SPACE, one_by_one(Loss()), limits_of(make_costs(cache, SPACE), SPACE), other, tmp_path / "whole")


def test_what_is_written_can_be_used(costs: DesignCosts, tmp_path: Path) -> None:
    shown: list[tuple[int, int, str]] = []
    outcome = co_search(
        NARROW, one_by_one(loss_of), limits_of(costs), request(), tmp_path, progress=lambda *told: shown.append(told)
    )
    assert [done for done, _, _ in shown] == list(range(1, outcome.evaluated + 1))
    document = json.loads((tmp_path / FRONT).read_text())
    assert document == json.loads(json.dumps(outcome.as_dict()))
    assert document["source"] == "estimated"
    assert document["origin"] == "estimated by systolic 1 (uncalibrated)"
    devices = load_devices(tmp_path / "devices.yaml")
    for pair in document["front"]:
        device = devices.get(pair["accelerator"])
        assert isinstance(device, SimulatedDevice)
        assert device.configuration == pair["provenance"]["configuration"]
        assert pair["source"] == "estimated"
        network = read_candidate(tmp_path / "networks" / f"{pair['network']}.yml", NARROW)
        assert network.as_dict() == pair["choices"]


def test_the_second_time_a_design_is_read_from_the_cache(
    cache: Path, costs: DesignCosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = costs.table((1, 0, 0))
    assert first is not None
    from profiler.simulators.systolic import SystolicEngine

    monkeypatch.setattr(SystolicEngine, "primitive", lambda *_: pytest.fail("it was estimated again"))
    again = make_costs(cache).table((1, 0, 0))
    assert again is not None
    assert (again.latency_ms == first.latency_ms).all()
    assert (again.energy_mj == first.energy_mj).all()


def test_a_device_without_energy(cache: Path, tmp_path: Path) -> None:
    dark = ARRAY.model_copy(update={"name": "dark", "parameters": {**ARRAY.parameters, "energy": None}})
    with pytest.raises(AcceleratorError, match=r"'dark' \(systolic\) does not tell every operator's energy"):
        co_search(
            NARROW,
            one_by_one(loss_of),
            limits_of(make_costs(cache, designs=replace(DESIGNS, device=dark))),
            request(),
            tmp_path,
        )
    two = replace(DESIGNS, device=dark, objectives=("loss", "latency_ms"))
    outcome = co_search(
        NARROW, one_by_one(loss_of), limits_of(make_costs(cache, designs=two)), request(), tmp_path / "two"
    )
    assert all(pair.energy_mj is None for pair in outcome.front)
    with pytest.raises(InfeasibleError, match="'dark' does not tell them all"):
        co_search(
            NARROW,
            one_by_one(loss_of),
            limits_of(make_costs(cache, designs=two), energy_mj=1.0),
            request(),
            tmp_path / "never",
        )


def test_a_design_space_in_which_nothing_can_be(cache: Path, tmp_path: Path) -> None:
    none = DesignSpace(ARRAY, {"rows": (0, -1)})
    with pytest.raises(InfeasibleError, match=r"no accelerator of the design space can be: systolic: .*rows must be"):
        co_search(NARROW, one_by_one(loss_of), limits_of(make_costs(cache, designs=none)), request(), tmp_path)
