"""TVM by our schedules (and LiteRT, where it is installed) against ONNX Runtime: HAT-size operators and whole graphs.

Every round opens a fresh process for each runtime, in random order, and times every subject in it: the mean of
the lower half of some samples, on the CPU time of the one thread (or the wall, with more). A ratio is the median
over rounds of ratios within a round, so that what else the machine does meets both alike.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from exporters import Artifact, Exporter
from exporters.cache import export_cached
from hwnas.families import get_family
from hwnas.families.base import Family, Vocabularies
from hwnas.families.deployed import as_deployed
from hwnas.families.fingerprint import code_fingerprint
from hwnas.files import artifact_cache
from hwnas.space import SearchSpace
from hwnas.spaces import load_space
from hwnas.workload import Workload
from latency_luts import OperatorSpec
from profiler import LocalDevice, Program, check_parity, open_session
from profiler.exporting import open_exporter
from profiler.session import TimingSession
from profiler.toolchain import get_toolchain, state

BASELINE, TUNED = "onnxruntime", "tvm-tuned"
SAMPLES, SAMPLE_S = 7, 0.004

OPERATORS = """\
source_embedding[batch=1,embed=512,tokens=30,vocabulary=32768]
encoder_self_attention[batch=1,embed=512,heads=4,qkv=512,tokens=30]
encoder_self_attention[batch=1,embed=512,heads=8,qkv=512,tokens=30]
encoder_self_attention[batch=1,embed=640,heads=8,qkv=512,tokens=30]
encoder_self_attention[batch=1,embed=512,heads=8,qkv=512,tokens=23]
encoder_ffn[batch=1,embed=512,ffn=1024,tokens=30]
encoder_ffn[batch=1,embed=512,ffn=2048,tokens=30]
encoder_ffn[batch=1,embed=640,ffn=3072,tokens=30]
encoder_ffn[batch=1,embed=512,ffn=2048,tokens=23]
cross_projection[attended=1,batch=1,embed=512,heads=8,qkv=512,tokens=30]
cross_projection[attended=3,batch=1,embed=640,heads=4,qkv=512,tokens=30]
target_embedding[batch=1,beam=5,embed=512,vocabulary=32768]
decoder_self_attention[batch=1,beam=5,cache=29,embed=512,heads=8,qkv=512]
decoder_self_attention[batch=1,beam=5,cache=29,embed=640,heads=4,qkv=512]
decoder_self_attention[batch=1,beam=1,cache=29,embed=512,heads=8,qkv=512]
decoder_cross_attention[batch=1,beam=5,embed=512,heads=8,qkv=512,tokens=30]
decoder_cross_attention[batch=1,beam=5,embed=640,heads=4,qkv=512,tokens=90]
decoder_cross_attention[batch=1,beam=1,embed=512,heads=8,qkv=512,tokens=30]
decoder_ffn[batch=1,beam=5,embed=512,ffn=1024]
decoder_ffn[batch=1,beam=5,embed=512,ffn=2048]
decoder_ffn[batch=1,beam=5,embed=640,ffn=3072]
decoder_ffn[batch=1,beam=1,embed=512,ffn=2048]
output_projection[batch=1,beam=5,embed=512,vocabulary=8000]
output_projection[batch=1,beam=5,embed=512,vocabulary=32768]
output_projection[batch=1,beam=1,embed=512,vocabulary=32768]
"""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A subject's time on a runtime, as a multiple of the baseline's in the same rounds, and of the untuned's.

    Where tuning changed nothing the library is the same file, which is measured once: its multiple is 1.
    """

    subject: str
    latency_ms: float
    ratio: float
    untuned_ratio: float = 1.0


def runtime_of(name: str) -> str:
    """What runs, apart from how it was compiled and in which precision."""
    return "tvm" if name == TUNED else name.partition(":")[0]


def precision_of(name: str) -> str:
    """``int8-dynamic`` of ``tvm:int8-dynamic``."""
    return name.partition(":")[2] or "fp32"


def subjects(runtime: str, operators: Sequence[str], cache: Path, whole: bool) -> Iterator[tuple[str, Artifact]]:
    """Every operator as ``runtime`` takes it, and if ``whole`` the graphs of the space's largest model.

    With one and with five beams. A decoder step attends to 15 past positions where caches grow, and to 30 where they
    keep their length.
    """
    space = load_space("hat_wmt14_ende")
    family = as_deployed(get_family(space.family), runtime_of(runtime))
    with open_exporter(runtime_of(runtime), tuned=runtime == TUNED) as exporter:
        yield from _exported(exporter, space, family, operators, cache, "", precision_of(runtime), whole)


def _exported(
    exporter: Exporter,
    space: SearchSpace,
    family: Family,
    operators: Sequence[str],
    cache: Path,
    prefix: str,
    precision: str = "fp32",
    whole: bool = True,
) -> Iterator[tuple[str, Artifact]]:
    code = f"{prefix}{code_fingerprint(family)}"
    for text in operators:
        spec = OperatorSpec.parse(text.replace("]", ",precision=fp32]"))
        module = partial(family.module, spec)
        yield text, export_cached(f"{code}/{spec}", module, cache, exporter, precision=precision)
    for beam in (1, 5) if whole else ():
        graphs = _Graphs(space, family, beam)
        for name in ("encoder", "decoder_step") if beam == 5 else ("decoder_step",):
            key = f"{code}/{exporter.format}/{space.fingerprint}/largest/{beam}/{name}"
            artifact = export_cached(key, partial(graphs.get, name), cache, exporter, precision=precision)
            yield f"{name}[largest,beam={beam}]", artifact


class _Graphs:
    """The graphs of a whole model, built when first asked for."""

    def __init__(self, space: SearchSpace, family: Family, beam: int) -> None:
        self.space, self.family, self.built = space, family, None
        self.workload = Workload(**{**space.workload.as_dict(), "beam": beam, "cache": 15})

    def get(self, name: str) -> tuple[object, object]:
        if self.built is None:
            import torch

            torch.manual_seed(0)
            size = self.workload.vocabulary
            model = self.family.model(self.space, self.space.extreme(-1), Vocabularies(size, size))
            self.built = self.family.graphs(model, self.workload).graphs
        return self.built[name]


def measure(
    runtimes: Sequence[str],
    threads: int,
    rounds: int,
    operators: Sequence[str],
    cache: Path,
    baseline: str,
    whole: bool,
) -> Mapping[str, list[Ratio]]:
    """Ratios of every runtime to the baseline; refused if an output is not PyTorch's."""
    artifacts = {runtime: dict(subjects(runtime, operators, cache, whole)) for runtime in runtimes}
    taken: dict[str, dict[str, list[float]]] = {r: {name: [] for name in artifacts[r]} for r in runtimes}
    rng = random.Random(0)
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for runtime in rng.sample(list(runtimes), len(runtimes)):
            device = LocalDevice(name=f"this by {runtime}", kind="local", runtime=runtime_of(runtime), threads=threads)
            with closing(open_session(device)) as session:
                for name, artifact in artifacts[runtime].items():
                    taken[runtime][name].append(_latency_ms(session, artifact, threads, prove=number == 0))
    for name in taken.get(TUNED, {}):  # all are timed, so that the others find the process in the same state
        if artifacts[TUNED][name].sha256 == artifacts["tvm"][name].sha256:
            taken[TUNED][name] = taken["tvm"][name]

    def against(other: str, name: str, values: Sequence[float]) -> float:
        return statistics.median(a / b for a, b in zip(values, taken[other][name], strict=True))

    return {
        runtime: [
            Ratio(
                name,
                statistics.median(values),
                against(baseline, name, values),
                against("tvm", name, values) if runtime == TUNED else 1.0,
            )
            for name, values in by_name.items()
        ]
        for runtime, by_name in taken.items()
    }


def _latency_ms(session: TimingSession, artifact: Artifact, threads: int, *, prove: bool) -> float:
    handle = session.load(Program.single(artifact))
    if prove:
        check_parity(artifact, session.run(handle), "this machine")
    session.time(handle, 3)
    call_s = session.time(handle, 3)[0].wall_ns / 3e9
    calls = max(1, round(SAMPLE_S / call_s))
    samples = session.time(handle, calls, SAMPLES)
    session.unload(handle)
    each = sorted((s.cpu_ns if threads == 1 else s.wall_ns) / s.calls / 1e6 for s in samples)
    return statistics.fmean(each[: (SAMPLES + 1) // 2])


def available(baseline: str) -> list[str]:
    """The baseline, and the runtimes that can be measured here."""
    found = [baseline, "tvm"]
    if state(get_toolchain("litert-torch")) == "installed" and importlib.util.find_spec("ai_edge_litert"):
        found.append("litert")
    return found


def tune(minutes: float, operators: Sequence[str], cache: Path) -> None:
    """Tune every product of the subjects; say on stderr what came of it."""
    from hwnas.tuning import tune_graphs

    space = load_space("hat_wmt14_ende")
    family = as_deployed(get_family(space.family), "tvm")
    with open_exporter(BASELINE) as exporter:
        graphs = [artifact.path for _, artifact in _exported(exporter, space, family, operators, cache, "fixed/")]
    found = tune_graphs(graphs, 60 * minutes, waiting=lambda note: print(note, file=sys.stderr, flush=True))
    better = [each.ratio for each in found.tuned if each.tile != each.rule]
    best = f", the best takes {min(better):.2f} of the time" if better else ""
    print(
        f"tuned {len(found.tuned)} products, {found.left} left: {len(better)} faster{best}", file=sys.stderr, flush=True
    )


def main() -> None:
    """Print a table for every number of threads."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runtimes", nargs="+", default=None, help="beside the baseline; tvm:int8 and the like")
    parser.add_argument("--baseline", default=BASELINE, help="onnxruntime:int8 and the like")
    parser.add_argument("--tune", type=float, default=None, metavar="MINUTES", help="tune, and measure tvm-tuned too")
    parser.add_argument("--only", default="", help="operators whose name holds this")
    parser.add_argument("--no-models", action="store_true", help="operators alone")
    parser.add_argument("--cache", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    runtimes = [arguments.baseline, *arguments.runtimes] if arguments.runtimes else available(arguments.baseline)
    operators = [text for text in OPERATORS.split() if arguments.only in text]
    cache = arguments.cache or artifact_cache()
    if arguments.tune is not None:
        tune(arguments.tune, operators, cache)
        runtimes.append(TUNED)
    found = {
        n: measure(runtimes, n, arguments.rounds, operators, cache, arguments.baseline, not arguments.no_models)
        for n in arguments.threads
    }
    if arguments.json:
        print(json.dumps({n: {r: [asdict(e) for e in es] for r, es in f.items()} for n, f in found.items()}))
        return
    for threads, by_runtime in found.items():
        _print(threads, by_runtime, arguments.baseline)


def _print(threads: int, by_runtime: Mapping[str, list[Ratio]], baseline: str) -> None:
    others = [runtime for runtime in by_runtime if runtime != baseline]
    print(f"{threads} thread(s){'':<65}{baseline:>12}" + "".join(f"{runtime:>18}" for runtime in others))
    for place, base in enumerate(by_runtime[baseline]):
        cells = "".join(f"{by_runtime[r][place].latency_ms:10.3f} {by_runtime[r][place].ratio:7.2f}" for r in others)
        print(f"{base.subject:<76}{base.latency_ms:9.3f} ms{cells}")
    for runtime in others:
        ratios = [entry.ratio for entry in by_runtime[runtime]]
        mean = statistics.geometric_mean(ratios)
        print(f"{runtime}: geometric mean of ratios {mean:.2f}, worst {max(ratios):.2f}, best {min(ratios):.2f}")
    if TUNED in by_runtime:
        gains = [entry.untuned_ratio for entry in by_runtime[TUNED] if entry.untuned_ratio != 1]
        print(f"tuned to untuned: {len(gains)} of {len(by_runtime[TUNED])} are other libraries", end="")
        print(f"; geometric mean {statistics.geometric_mean(gains):.3f}, worst {max(gains):.3f}" if gains else "")


if __name__ == "__main__":
    main()
