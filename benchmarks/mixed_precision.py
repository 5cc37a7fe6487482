"""What mixing precisions gains, how well a table predicts it, and what a border between two precisions costs.

    python -m benchmarks.mixed_precision [--space benchmarks/mixed_medium.yaml] [--models 30] [--architectures 8]
                                         [--rounds 40] [--out runs/mixed_precision] [--json]

``--space`` may be one in fp32: its blocks then get the choice of fp32 and int8-dynamic. Profiles it, with fresh whole
models of random precisions, and tells

- each kind of operator in int8-dynamic over fp32 (geometric mean over the table's rows);
- the error of predictions on the fresh models, beside the split-half floor;
- random architectures in fp32, in int8-dynamic, and in the precisions that are fastest by the table, measured in the
  same rounds;
- what a border adds, a call that follows one of another precision on the residual stream: of each architecture, its
  layers made alike, two arrangements of the same operators are measured, one with few borders and one with many. A
  table has no operator for a border, because the graphs have no node there; were there a cost, it would show here.

Run it again to go on where it stopped. It takes about a quarter of an hour; g2p_mixed, where int8-dynamic is slower
throughout, more, and benchmarks/hat_mixed.yaml, where it is faster throughout, half an hour.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml

from hwnas import spaces
from hwnas.cli.console import progress_bar, say, table
from hwnas.families import get_family
from hwnas.families.base import Family
from hwnas.files import artifact_cache
from hwnas.finalists import measure_finalists
from hwnas.latency import TableLatency
from hwnas.profiling import profile_space
from hwnas.sampling import Sampling
from hwnas.space import Candidate, SearchSpace
from hwnas.spaces import load_space, shipped_spaces
from latency_luts import LatencyLut
from profiler import load_devices

PRECISIONS = ["fp32", "int8-dynamic"]
ENCODER = ("encoder_attention_bits", "encoder_ffn_bits")
DECODER = ("decoder_self_bits", "decoder_cross_bits", "decoder_ffn_bits")
_SHIPPED = Path(spaces.__file__).parent


@dataclass(frozen=True, slots=True)
class Border:
    """What one border adds, in microseconds, by ``pairs`` of arrangements, and the standard error of their mean.

    ``share``: what the more borders of the one arrangement add to it, of its latency.
    """

    cost_us: float
    standard_error_us: float
    share: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Mixed:
    """One architecture measured in three ways, and as predicted: in fp32, in int8-dynamic, and mixed.

    The last is what the table said is fastest; ``quantised`` of its ``blocks`` are in int8-dynamic.
    """

    measured_ms: tuple[float, float, float]
    predicted_ms: tuple[float, float, float]
    quantised: int
    blocks: int

    @property
    def over_best(self) -> float:
        """Of the faster of the uniform ones."""
        return self.measured_ms[2] / min(self.measured_ms[:2])


def mixed_space(name: str) -> SearchSpace:
    """The space, with a choice of precision for every block if it had none."""
    space = load_space(name)
    if space.mixed:
        return space
    path = _SHIPPED / f"{name}.yaml" if name in shipped_spaces() else Path(name)
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document |= {"name": f"{space.name}_mixed", "choices": document["choices"] | {"precisions": PRECISIONS}}
    return get_family(space.family).space(document)


def borders(space: SearchSpace, candidate: Candidate | Mapping[str, int]) -> int:
    """Calls that follow, on the residual stream, one of another precision; embeddings are in fp32."""
    values = candidate.as_dict() if isinstance(candidate, Candidate) else dict(candidate)
    encoder = [values[f"{name}.{i}"] for i in range(values["encoder_layers"]) for name in ENCODER]
    decoder = [values[f"{name}.{i}"] for i in range(values["decoder_layers"]) for name in DECODER]
    decoder.append(values["output_bits"])
    steps = space.workload.target_tokens
    return sum(
        calls * sum(a != b for a, b in itertools.pairwise([32, *bits]))
        for calls, bits in ((1, encoder), (steps, decoder))
    )


def arranged(space: SearchSpace, candidate: Candidate) -> tuple[Candidate, Candidate]:
    """The candidate at its deepest with all layers alike, and with half of its first two layers in int8-dynamic.

    That half is the first layer, or every other block: the same operators with few borders and with many.
    """
    values = space.extreme(-1).as_dict()
    for name in values:
        kind, dot, _ = name.partition(".")
        if dot or kind in ("encoder_embed", "decoder_embed"):
            values[name] = candidate[f"{kind}.0" if dot else kind]
    few, many = (dict.fromkeys((name for name in values if "_bits" in name), 32) for _ in range(2))
    for blocks in (ENCODER, DECODER):
        for place, block in enumerate(blocks):
            few[f"{block}.0"] = 8
            many[f"{block}.{place % 2}"] = 8
    return space.candidate(values | few), space.candidate(values | many)


def border_cost(
    space: SearchSpace, pairs: Sequence[tuple[Candidate, Candidate]], found: Mapping[Candidate, float]
) -> Border:
    """By the measured milliseconds of both arrangements of each pair."""
    each = [(found[many] - found[few]) / (borders(space, many) - borders(space, few)) for few, many in pairs]
    share = [found[many] / found[few] - 1 for few, many in pairs]
    error = float(np.std(each, ddof=1)) / math.sqrt(len(each)) if len(each) > 1 else math.nan
    return Border(1e3 * float(np.mean(each)), 1e3 * error, float(np.mean(share)), len(each))


def ratios(lut: LatencyLut) -> dict[str, float]:
    """Each kind of operator in int8-dynamic over fp32."""
    plain = {(op.kind, op.sizes): row.latency_ms for op, row in lut.rows.items() if op.precision == "fp32"}
    logs: dict[str, list[float]] = {}
    for operator, row in lut.rows.items():
        if operator.precision != "fp32":
            logs.setdefault(operator.kind, []).append(math.log(row.latency_ms / plain[operator.kind, operator.sizes]))
    return {kind: math.exp(sum(its) / len(its)) for kind, its in sorted(logs.items())}


def in_bits(space: SearchSpace, candidate: Candidate, bits: Mapping[str, int] | int) -> Candidate:
    """The architecture of a candidate, its blocks of so many bits."""
    values = candidate.as_dict()
    ours = [choice.name for choice in space.choices if choice.precisions and choice.name in candidate]
    return space.candidate(values | {name: bits if isinstance(bits, int) else bits[name] for name in ours})


def fastest(space: SearchSpace, latency: TableLatency, candidate: Candidate) -> Candidate:
    """The architecture in the precisions of the lowest prediction: a sum, so each block by itself."""
    plain = in_bits(space, candidate, 32)
    limit_ms = latency.of(plain)
    chosen = {
        name: 8 if latency.of(space.candidate(plain.as_dict() | {name: 8})) < limit_ms else 32
        for name in plain.as_dict()
        if "_bits" in name
    }
    return in_bits(space, plain, chosen)


def measure_mixed(
    space: SearchSpace, family: Family, lut: LatencyLut, device_name: str, number: int, rounds: int, out: Path
) -> tuple[list[Mixed], Border]:
    """Random architectures in fp32, int8-dynamic and mixed, and in both arrangements, all in the same rounds."""
    latency, rng = TableLatency(space, family, lut), random.Random(0)
    drawn = [space.sample(rng) for _ in range(number)]
    threes = [(in_bits(space, c, 32), in_bits(space, c, 8), fastest(space, latency, c)) for c in drawn]
    pairs = [arranged(space, candidate) for candidate in drawn]
    wanted = dict.fromkeys(itertools.chain.from_iterable([*threes, *pairs]))
    with progress_bar("measuring architectures") as measuring:
        measured = measure_finalists(
            space,
            family,
            [(candidate, 0.0) for candidate in wanted],
            lut,
            latency,
            load_devices().get(device_name),
            out / f"{space.name}.architectures.journal.jsonl",
            rounds=rounds,
            cache=artifact_cache(),
            measuring=measuring.update,
            waiting=say,
        )
    found = {one.candidate: one.measured_ms or math.nan for one in measured.finalists}
    told = []
    for plain, int8, mixed in threes:
        bits = [value for name, value in mixed.entries if "_bits" in name]
        measured_ms = (found[plain], found[int8], found[mixed])
        predicted_ms = (latency.of(plain), latency.of(int8), latency.of(mixed))
        told.append(Mixed(measured_ms, predicted_ms, bits.count(8), len(bits)))
    return told, border_cost(space, list(dict.fromkeys(pairs)), found)


def main() -> None:
    """Profile, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="benchmarks/mixed_medium.yaml")
    parser.add_argument("--models", type=int, default=30, help="fresh whole models of random precisions")
    parser.add_argument("--calibration", type=int, default=20)
    parser.add_argument("--architectures", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--device", default="x86")
    parser.add_argument("--out", type=Path, default=Path("runs/mixed_precision"))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    space = mixed_space(given.space)
    family, device = get_family(space.family), load_devices().get(given.device)
    given.out.mkdir(parents=True, exist_ok=True)
    sampling = Sampling(
        rounds=given.rounds, samples=given.samples, calibration=given.calibration, check=given.models, half_width=0.02
    )
    with progress_bar("exporting") as exporting, progress_bar("measuring") as measuring:
        lut = profile_space(
            space,
            family,
            space.workload,
            device,
            given.out / f"{space.name}.lut.jsonl",
            sampling,
            exporting=exporting.update,
            measuring=measuring.update,
            waiting=say,
        )
    assert lut.calibration is not None
    check, kinds = lut.calibration.evaluate(lut.models_of("check")), ratios(lut)
    told, border = measure_mixed(space, family, lut, given.device, given.architectures, given.rounds, given.out)
    if given.json:
        document = {"check": check.as_dict(), "border": asdict(border), "kinds": kinds}
        print(json.dumps({"space": space.name, **document, "architectures": [asdict(one) for one in told]}))
        return
    print(_text(space, kinds, told))
    print(
        f"{check.models} fresh models of random precisions: mean error {check.mape:.2%}, worst {check.worst:.1%},"
        f" Spearman {check.spearman:.3f}, split-half floor {check.split_half_floor:.2%}"
    )
    print(
        f"a border adds {border.cost_us:.2f} us ± {border.standard_error_us:.2f} us (mean of {border.pairs} pairs):"
        f" {border.share:.2%} of the one that has more"
    )


def _text(space: SearchSpace, kinds: Mapping[str, float], told: Sequence[Mixed]) -> str:
    rows = [[kind, f"{ratio:.2f}"] for kind, ratio in kinds.items()]
    each = []
    for one in told:
        off = [f"{p / m - 1:+.1%}" for p, m in zip(one.predicted_ms, one.measured_ms, strict=True)]
        plain, int8, mixed = one.measured_ms
        shares = [f"{int8 / plain:.2f}", f"{mixed / plain:.2f}", f"{one.over_best:.2f}"]
        each.append([f"{plain:.3f}", *shares, f"{one.quantised} of {one.blocks}", " ".join(off)])
    titles = [
        "fp32 ms",
        "int8/fp32",
        "mixed/fp32",
        "mixed/best uniform",
        "int8 blocks",
        "predicted off (fp32 int8 mixed)",
    ]
    mean = math.exp(sum(math.log(one.over_best) for one in told) / len(told))
    return "\n".join(
        [
            table([f"{space.name}: int8-dynamic over fp32", "ratio"], rows),
            "",
            table(titles, each),
            f"mixed over the better uniform precision: {mean:.3f} (geometric mean)",
        ]
    )


if __name__ == "__main__":
    main()
