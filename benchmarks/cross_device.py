"""Winners of one SuperTransformer searched for several devices, and each of them on every device.

    python -m benchmarks.cross_device --supernet FILE [--devices tpu-v1,edge-16x16,shift-array] [--cpu x86]
        [--cpu-table FILE] [--out FOLDER] [--share 0.5] [--json]

`hwnas search` is run for every device with the same seed and budget under the same relative limit: the fastest
candidate's latency plus a share of the range to the slowest's, each device's own. The tables of simulated devices are
estimated, and searched without a margin; the CPU's is measured first if none is given. The winners are then measured
on the CPU, in the same rounds.

A device's own winner wins there if no other winner that meets the limit has a lower loss on the pairs searched with;
within the noise if one has, but by no more than 1.96 standard errors of their difference over parts of the pairs.
As HAT does, compare specialised models across devices (H. Wang et al., ACL 2020).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwnas.candidates import read_candidate
from hwnas.cli.console import say, table
from hwnas.data import load_task
from hwnas.evaluators.fitness import fixed_subset
from hwnas.evaluators.inherited import InheritedLoss
from hwnas.families import get_family
from hwnas.files import artifact_cache
from hwnas.finalists import measure_finalists
from hwnas.latency import TableLatency
from hwnas.limits import latency_range_ms
from hwnas.profiling import quietly
from hwnas.space import Candidate
from hwnas.spaces import load_space
from hwnas.training import load_supernet
from latency_luts import LatencyLut
from profiler import load_devices

PARTS = 20
"""The pairs are evaluated in so many parts, to tell the noise of a difference of losses."""


@dataclass(frozen=True, slots=True)
class Winner:
    """Of the search for ``device``; latencies in ms by device, with an interval where they were measured.

    ``loss`` is that on all pairs, ``losses`` those on parts of them.
    """

    device: str
    candidate: Candidate
    loss: float
    losses: tuple[float, ...]
    latency_ms: Mapping[str, float]
    interval_ms: Mapping[str, tuple[float, float]]

    def meets(self, device: str, limit_ms: float) -> bool:
        """Whether it can be told to meet the limit there: with its whole interval, as a search's own winner must."""
        low_high = self.interval_ms.get(device)
        return (self.latency_ms[device] if low_high is None else low_high[1]) <= limit_ms


def verdict(device: str, winners: Sequence[Winner], limit_ms: float) -> str:
    """``wins``, ``wins within the noise``, or why it does not."""
    own = next(winner for winner in winners if winner.device == device)
    if own.interval_ms.get(device, (own.latency_ms[device],))[0] > limit_ms:
        return "LOSES: it misses the limit"
    found = "wins"
    for other in winners:
        if other.candidate == own.candidate or not other.meets(device, limit_ms) or other.loss >= own.loss:
            continue
        worse = np.subtract(own.losses, other.losses)
        if own.loss - other.loss > 1.96 * float(worse.std(ddof=1)) / np.sqrt(len(worse)):
            return f"LOSES to the winner of {other.device} by {own.loss - other.loss:.4f} nats"
        found = "wins within the noise"
    return found


def run(*arguments: object, partly: bool = False) -> None:
    """`hwnas` with these arguments; all it says goes to stderr. ``partly``: its exit code 3 is good enough."""
    say("hwnas " + " ".join(map(str, arguments)))
    code = subprocess.run(
        [sys.executable, "-m", "hwnas", *map(str, arguments)], check=False, stdout=sys.stderr
    ).returncode
    if code and not (partly and code == 3):
        raise SystemExit(f"hwnas {arguments[0]} ended with {code}; a search that ends with 3 wants a quieter machine")


def parsed() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--supernet", type=Path, required=True)
    parser.add_argument("--space", default="g2p")
    parser.add_argument("--data", default="g2p")
    parser.add_argument("--devices", default="tpu-v1,edge-16x16,shift-array", help="simulated ones")
    parser.add_argument("--cpu", default="x86", help="the device that is this machine")
    parser.add_argument("--cpu-table", type=Path, help="its table, made by hwnas profile here; else it is made")
    parser.add_argument("--cpu-minutes", type=float, default=10, help="for making it, at most")
    parser.add_argument("--out", type=Path, help="folder of tables and searches; the same one goes on; else temporary")
    parser.add_argument("--share", type=float, default=0.5, help="of each device's latency range")
    parser.add_argument("--validation-pairs", type=int, default=1000)
    parser.add_argument("--population", type=int, default=40)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=30, help="of the CPU's measurements, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Print the table; exit 1 if there are not two winners at least, or one does not win at home."""
    given = parsed()
    with tempfile.TemporaryDirectory() as scratch:
        out = given.out or Path(scratch)
        winners, limits_ms = search_all(given, out)
    verdicts = {device: verdict(device, winners, limit_ms) for device, limit_ms in limits_ms.items()}
    different = len({winner.candidate for winner in winners})
    passed = different >= 2 and not any(found.startswith("LOSES") for found in verdicts.values())
    if given.json:
        rows = [
            {
                "searched_for": winner.device,
                "candidate": winner.candidate.as_dict(),
                "loss": winner.loss,
                "latency_ms": dict(winner.latency_ms),
                "interval_ms": dict(winner.interval_ms),
            }
            for winner in winners
        ]
        sources = {name: source_on(name, given.cpu) for name in limits_ms}
        document = {
            "sources": sources,
            "limits_ms": limits_ms,
            "winners": rows,
            "verdicts": verdicts,
            "different": different,
        }
        print(json.dumps(document | {"passed": passed}, indent=2))
    else:
        print(told(winners, limits_ms, given.cpu))
        for device, found in verdicts.items():
            print(f"on {device} its own winner {found}")
        print(f"{different} different winners: {'passed' if passed else 'FAILED'}")
    raise SystemExit(0 if passed else 1)


def source_on(device: str, cpu: str) -> str:
    """What a latency on ``device`` is."""
    return "measured" if device == cpu else "estimated"


def told(winners: Sequence[Winner], limits_ms: Mapping[str, float], cpu: str) -> str:
    """A row per winner and a column per device; what cannot be told to meet the limit there is in brackets."""
    rows = []
    for winner in winners:
        cells = []
        for device, limit_ms in limits_ms.items():
            shown = f"{winner.latency_ms[device]:.4f}"
            if device in winner.interval_ms:
                shown += f" ±{np.ptp(winner.interval_ms[device]) / 2:.4f}"
            cells.append(shown if winner.meets(device, limit_ms) else f"({shown})")
        rows.append([winner.device, winner.candidate.key, f"{winner.loss:.4f}", *cells])
    rows.append(["limit", "", "", *(f"{limit_ms:.4f}" for limit_ms in limits_ms.values())])
    header = [f"{name} ms, {source_on(name, cpu)}" for name in limits_ms]
    return table(["searched for", "winner", "loss", *header], rows) + "\nin brackets: misses that device's limit"


def search_all(given: argparse.Namespace, out: Path) -> tuple[list[Winner], dict[str, float]]:
    """The winners of all devices, the CPU's last, with their figures; and the limits."""
    space = load_space(given.space)
    family = get_family(space.family)
    tables = {name: out / f"{name}.lut.jsonl" for name in given.devices.split(",")}
    for name, path in tables.items():
        run("profile", "--space", given.space, "--device", name, "--out", path)
    tables[given.cpu] = given.cpu_table or out / f"{given.cpu}.lut.jsonl"
    if given.cpu_table is None:
        run("profile", "--space", given.space, "--device", given.cpu, "--rounds", given.rounds,
            "--budget-minutes", given.cpu_minutes, "--wait", "--out", tables[given.cpu], partly=True)  # fmt: skip
    latencies = {name: TableLatency.from_lut(space, family, LatencyLut.load(path)) for name, path in tables.items()}
    limits_ms, found = {}, {}
    for name, latency in latencies.items():
        low, high = latency_range_ms(space, latency)
        limits_ms[name] = low + given.share * (high - low)
        run(
            "search", "--space", given.space, "--data", given.data, "--table", tables[name],
            "--supernet", given.supernet, "--latency-ms", limits_ms[name], "--out", out / f"search-{name}",
            "--population", given.population, "--iterations", given.iterations,
            "--parents", max(2, given.population // 5), "--mutants", given.population // 2,
            "--crossovers", given.population // 2, "--validation-pairs", given.validation_pairs,
            "--rounds", given.rounds, "--seed", given.seed, *(["--wait"] if name == given.cpu else ["--margin", 0]),
        )  # fmt: skip
        found[name] = read_candidate(out / f"search-{name}" / "winner.yml", space)
    task = load_task(given.data, say=say)
    supernet = load_supernet(given.supernet, space, family, task)
    pairs = fixed_subset(task.pairs["valid"], given.validation_pairs)
    parts = [InheritedLoss(supernet, family, pairs[part::PARTS]) for part in range(PARTS)]
    losses = {candidate: tuple(part(candidate) for part in parts) for candidate in found.values()}
    whole = {candidate: InheritedLoss(supernet, family, pairs)(candidate) for candidate in losses}
    here = latencies[given.cpu]
    measured = measure_finalists(
        space,
        family,
        list(whole.items()),
        here.lut,
        here,
        load_devices().get(given.cpu),
        out / f"winners-{given.cpu}.journal.jsonl",
        rounds=given.rounds,
        cache=artifact_cache(),
        measuring=quietly,
        waiting=say,
    ).finalists
    on_cpu = {finalist.candidate: finalist for finalist in measured}
    winners = []
    for name, candidate in found.items():
        on = {device: latency.of(candidate) for device, latency in latencies.items() if device != given.cpu}
        finalist = on_cpu[candidate]
        assert finalist.measured_ms is not None and finalist.interval_ms is not None
        figures = on | {given.cpu: finalist.measured_ms}
        intervals = {given.cpu: finalist.interval_ms}
        winners.append(Winner(name, candidate, whole[candidate], losses[candidate], figures, intervals))
    return winners, limits_ms


if __name__ == "__main__":
    main()
