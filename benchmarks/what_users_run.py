"""A whole sentence with its cache: what users run today (PyTorch, in three ways) against what hwnas deploys.

Every round times every way, in random order: the sentence is encoded once and decoded token by token, on one thread,
in CPU time. A ratio is the median over rounds of ratios within a round, to eager PyTorch as HAT measures it (training
mode with its dropout, autograd on; ``latency_dataset.py`` of that work). Ours are the deployed graphs by each runtime,
compared with PyTorch before they are timed. Weights are random: latency does not depend on them. About 12 minutes for
both spaces; ``--spaces g2p --rounds 3`` in two.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from hwnas.candidates import read_candidate
from hwnas.families import get_family
from hwnas.families.base import Vocabularies
from hwnas.families.deployed import as_deployed
from hwnas.families.seq2seq.modules import ElasticDropout
from hwnas.files import artifact_cache
from hwnas.profiling import model_item
from hwnas.sampling import ModelChoice
from hwnas.space import Candidate, SearchSpace
from hwnas.spaces import load_space
from hwnas.workload import Workload
from profiler import LocalDevice, Program, check_parity, open_session
from profiler.exporting import open_exporter
from profiler.session import TimingSession

BASELINE = "eager, training mode, autograd"
DROPOUT = 0.3
"""HAT's, in training mode."""
SAMPLES, SAMPLE_S = 5, 0.1

Way = Callable[[], float]
"""One visit: the latency of a sentence in ms, the mean of the lower half of its samples."""


@dataclass(frozen=True, slots=True)
class Found:
    """A way to run the sentence, and its time as a multiple of the baseline's in the same rounds."""

    space: str
    way: str
    latency_ms: float
    ratio: float


def in_torch(model: nn.Module, workload: Workload, *, training: bool, compiled: bool = False) -> Way:
    """The sentence by PyTorch; the decoder is compiled for any length of its cache."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randint(4, workload.vocabulary, (1, workload.source_tokens), generator=generator)
    tokens = torch.randint(4, workload.vocabulary, (workload.target_tokens, 1), generator=generator)
    encode, step = model.encode, model.step
    if compiled:
        encode, step = torch.compile(encode), torch.compile(step, dynamic=True)

    def sentence() -> None:
        model.train(training)
        with torch.enable_grad() if training else torch.inference_mode():
            memory, caches = encode(source), model.empty_caches(1)
            for position in range(workload.target_tokens):
                _, caches = step(tokens[position], torch.tensor([position]), memory, caches, 1)

    for module in model.modules():
        if isinstance(module, ElasticDropout):
            module.p = DROPOUT
    sentence()

    def visit() -> float:
        sentence()
        taken = []
        for _ in range(SAMPLES):
            calls, began, cpu = 0, time.perf_counter(), time.process_time_ns()
            while time.perf_counter() - began < SAMPLE_S:
                sentence()
                calls += 1
            taken.append((time.process_time_ns() - cpu) / calls / 1e6)
        return _lower_half(taken)

    return visit


def deployed(
    space: SearchSpace, candidate: Candidate, workload: Workload, runtime: str, precision: str, cache: Path
) -> Program:
    """The whole model's graphs as ``runtime`` takes them."""
    family = as_deployed(get_family(space.family), runtime, precision)
    with open_exporter(runtime) as exporter:
        return model_item(
            space, family, workload, ModelChoice(candidate, "extra"), exporter, cache, "what-users-run"
        ).program


def by_session(session: TimingSession, program: Program) -> Way:
    """The same by the worker, on its own clock."""
    for stage in program.stages:
        alone = session.load(Program.single(stage.artifact))
        check_parity(stage.artifact, session.run(alone), str(session.target))
        session.unload(alone)
    handle = session.load(program)

    def visit() -> float:
        session.time(handle, 1)
        call_s = session.time(handle, 1)[0].wall_ns / 1e9
        taken = session.time(handle, max(1, round(SAMPLE_S / call_s)), SAMPLES)
        return _lower_half([sample.cpu_ns / sample.calls / 1e6 for sample in taken])

    return visit


def _lower_half(values: Sequence[float]) -> float:
    return statistics.fmean(sorted(values)[: (len(values) + 1) // 2])


def measure(
    name: str, candidate_file: Path | None, forms: Sequence[tuple[str, str]], rounds: int, cache: Path
) -> list[Found]:
    """Every way to run one model of a space; its largest unless a candidate file is given."""
    space = load_space(name)
    candidate = space.extreme(-1) if candidate_file is None else read_candidate(candidate_file, space)
    workload, family = space.workload, get_family(space.family)
    torch.manual_seed(0)
    model = family.model(space, candidate, Vocabularies(workload.vocabulary, workload.vocabulary))
    ways = {
        BASELINE: in_torch(model, workload, training=True),
        "eager, inference mode": in_torch(model, workload, training=False),
    }
    try:
        ways["torch.compile"] = in_torch(model, workload, training=False, compiled=True)
    except Exception as exc:  # no compiler here, or it fails on this model: told, and left out
        print(f"{name}: torch.compile does not work here: {str(exc).splitlines()[0]}", file=sys.stderr)
    with ExitStack() as stack:
        for runtime, precision in forms:
            program = deployed(space, candidate, workload, runtime, precision, cache)
            session = open_session(LocalDevice(name="here", kind="local", runtime=runtime))
            stack.callback(session.close)
            ways[f"hwnas: {runtime} {precision}"] = by_session(session, program)
        rng, taken = random.Random(0), {way: [] for way in ways}
        for number in range(rounds):
            print(f"{name}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            for way in rng.sample(list(ways), len(ways)):
                taken[way].append(ways[way]())
    return [
        Found(
            name,
            way,
            statistics.median(values),
            statistics.median(a / b for a, b in zip(values, taken[BASELINE], strict=True)),
        )
        for way, values in taken.items()
    ]


def verdict(found: Sequence[Found]) -> str:
    """How many times faster the best of ours is than the baseline, and than the best of the other ways."""
    ours = min((each for each in found if each.way.startswith("hwnas")), key=lambda each: each.ratio)
    others = min(each.ratio for each in found if not each.way.startswith("hwnas") and each.way != BASELINE)
    faster = f"{1 / ours.ratio:.1f} times as fast as HAT's way, {others / ours.ratio:.1f} times as the best other"
    return f"{ours.space}: {ours.way} is {faster}"


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spaces", nargs="+", default=["g2p", "hat_wmt14_ende"])
    parser.add_argument("--candidate", type=Path, help="a candidate file for the first space, else its largest")
    parser.add_argument("--forms", nargs="+", default=["onnxruntime:fp32", "litert:fp32", "tvm:fp32"])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--cache", type=Path, default=artifact_cache())
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    forms = [tuple(form.split(":")) for form in arguments.forms]
    found = [
        each
        for number, name in enumerate(arguments.spaces)
        for each in measure(name, None if number else arguments.candidate, forms, arguments.rounds, arguments.cache)
    ]
    if arguments.json:
        print(json.dumps([asdict(each) for each in found], indent=1))
        return
    for each in found:
        print(f"{each.space:16} {each.way:32} {each.latency_ms:10.4f} ms {each.ratio:8.3f}")
    for name in arguments.spaces:
        print(verdict([each for each in found if each.space == name]))


if __name__ == "__main__":
    main()
