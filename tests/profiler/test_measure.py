import json
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="makes the graphs")

from contracts.fake_session import FakeSession
from contracts.graphs import counting, linear
from contracts.transport import wait_gone

from profiler import (
    Journal,
    JournalError,
    LocalDevice,
    ParityError,
    Plan,
    PlanItem,
    ProfilerError,
    Program,
    Progress,
    SessionError,
    Stage,
    Target,
    estimate_s,
    measure,
    open_session,
    read_journal,
)
from profiler.schedule import round_order
from profiler.warm_up import calibrate

ROOT = Path(__file__).parents[2]
FAKE = Target("fake", "fake-1", 1, "wall")


def make_plan(folder: Path, rounds: int = 4, **options: object) -> Plan:
    items = [
        PlanItem(f"op{size}", "operator", Program.single(linear(folder / f"op{size}.onnx", size)))
        for size in (4, 8, 16)
    ]
    step = Stage("step", counting(folder / "step.onnx", 4), repeat=3, feeds={"x": "first.y"})
    model = Program((Stage("first", linear(folder / "op4.onnx", 4)), step))
    items.append(PlanItem("model", "model", model, {"genes": [1]}))
    return Plan(tuple(items), rounds=rounds, samples=3, seed=11, **options)


def take(path: Path, plan: Plan, *sessions: FakeSession, progress=None) -> None:
    """Measure on sessions that stand for every process that is opened on their device."""
    openers = [partial(opened, session) for session in sessions]
    start(path, plan, [session.target for session in sessions], openers, progress)


def opened(session: FakeSession) -> FakeSession:
    session.log.append(("open", "", 0))
    return session


def start(path: Path, plan: Plan, targets: list[Target], openers, progress=None) -> None:
    with Journal.open(path, plan.header(targets, workload={}, subject={})) as journal:
        measure(openers, plan, journal, progress)


def records(path: Path, kind: str) -> list[dict]:
    return [r for r in map(json.loads, path.read_text().splitlines()) if r["kind"] == kind]


def test_a_run_from_start_to_end(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    truth = {item.program.sha256: 0.1 * (n + 1) for n, item in enumerate(plan.items)}
    session = FakeSession(truth_ms=truth)
    seen: list[Progress] = []
    take(tmp_path / "j", plan, session, progress=seen.append)
    content = read_journal(tmp_path / "j")
    assert content.complete
    for item in plan.items:
        measured = content.measurements[str(FAKE), item.name]
        assert measured.latency_ms("wall") == pytest.approx(truth[item.program.sha256])
        assert [r.round for r in measured.rounds] == [0, 1, 2, 3]
        assert all(len(r.wall_ns) == 3 for r in measured.rounds)
        assert 2.0 <= measured.calls * measured.latency_ms("wall") <= 50
        assert content.calls[str(FAKE), item.name] == measured.calls
    assert {sha for _, sha in content.parity} == {s.artifact.sha256 for i in plan.items for s in i.program.stages}
    assert [e.at for e in content.environment] == ["start", *["round"] * 4, "end"]
    assert session._programs == {}
    last = seen[-1]
    assert (last.phase, last.done, last.total, last.round, last.seconds_left) == ("measure", 16, 16, 4, 0.0)
    assert [p.done for p in seen if p.phase == "measure"] == list(range(17))


def test_memory_that_loading_took_on_a_gpu_is_told_with_the_visit(tmp_path: Path) -> None:
    class OnGpu(FakeSession):
        """Takes as much as the file has."""

        taken = 0

        def load(self, program: Program) -> str:
            self.taken += program.size_bytes
            return super().load(program)

        def counters(self) -> dict[str, int]:
            return {"gpu_loaded_bytes": self.taken}

    plan = make_plan(tmp_path)
    take(tmp_path / "j", plan, OnGpu())
    sizes = {item.name: item.program.size_bytes for item in plan.items}
    assert all(r["facts"] == {"gpu_loaded_bytes": sizes[r["item"]]} for r in records(tmp_path / "j", "sample"))


def test_all_parity_comes_before_any_sample_and_each_artifact_once(tmp_path: Path) -> None:
    take(tmp_path / "j", make_plan(tmp_path), FakeSession())
    kinds = [r["kind"] for r in map(json.loads, (tmp_path / "j").read_text().splitlines())]
    assert kinds.index("sample") > max(i for i, kind in enumerate(kinds) if kind == "parity")
    assert kinds.count("parity") == 4


def test_every_round_visits_everything_in_another_order(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    two = replace(FAKE, threads=2)
    take(tmp_path / "j", plan, FakeSession(), FakeSession(two))
    rounds: dict[int, list[tuple[str, str]]] = {}
    for record in records(tmp_path / "j", "sample"):
        rounds.setdefault(record["round"], []).append((record["target"], record["item"]))
    everything = {(str(t), i.name) for t in (FAKE, two) for i in plan.items}
    assert all(len(order) == 8 and set(order) == everything for order in rounds.values())
    assert len({tuple(order) for order in rounds.values()}) == 4


def test_order_follows_from_seed_and_round_in_any_process() -> None:
    code = "from profiler.schedule import round_order; print(round_order(5, 3, 20))"
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed},
        )
        assert json.loads(done.stdout) == round_order(5, 3, 20)
    assert round_order(5, 3, 20) != round_order(5, 4, 20) != round_order(6, 4, 20)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{root!r}, {root!r} + "/tests", {here!r}]
from contracts.fake_session import FakeSession
from profiler import LocalDevice, open_session
from test_measure import make_plan, start

folder, at, real = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "real"
def open_here():
    session = open_session(LocalDevice(name="here", kind="local")) if real else FakeSession()
    if real:
        print(session.pid, flush=True)
    return session
session = open_here()
target = session.target
session.close()
steps = iter(range(10**6))
def progress(_):
    if next(steps) == at:
        os.kill(os.getpid(), signal.SIGKILL)
start(folder / "j", make_plan(folder), [target], [open_here], progress)
"""


def run_killed(folder: Path, at: int, session: str) -> str:
    code = KILLED.format(root=str(ROOT), here=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(at), session],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout


def timed(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if json.loads(line)["kind"] == "sample"]


def untimed(path: Path, kind: str) -> list[dict]:
    """Records without the driver's own time, which is never the same twice."""
    return [{key: r[key] for key in r if key not in ("at_s", "took_s")} for r in records(path, kind)]


def test_killed_and_continued_is_the_undisturbed_run(tmp_path: Path) -> None:
    take(tmp_path / "undisturbed", make_plan(tmp_path), FakeSession())
    for at in (2, 2 + 6):  # with two of four items prepared; then in the middle of the second round
        run_killed(tmp_path, at, "fake")
    before = timed(tmp_path / "j")
    assert len(before) == 6
    with (tmp_path / "j").open("ab") as stream:
        stream.write(b'{"kind":"sample","torn')
    again = FakeSession()
    take(tmp_path / "j", make_plan(tmp_path), again)
    assert timed(tmp_path / "j")[: len(before)] == before
    for kind in ("parity", "calibration", "sample", "reference"):
        assert untimed(tmp_path / "j", kind) == untimed(tmp_path / "undisturbed", kind)
    known, undisturbed = read_journal(tmp_path / "j"), read_journal(tmp_path / "undisturbed")
    assert (known.measurements, known.drift) == (undisturbed.measurements, undisturbed.drift)
    visits = [calls for operation, _, calls in again.log if operation == "load"]
    assert len(visits) == 16 - len(before), "something was loaded that was not missing"


def test_killed_with_a_real_worker_and_continued(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the worker's runtime")
    workers = run_killed(tmp_path, 9, "real").split()
    assert len(workers) > 2
    assert all(wait_gone(int(worker)) for worker in workers)
    before = timed(tmp_path / "j")
    assert before
    here = partial(open_session, LocalDevice(name="here", kind="local"))
    start(tmp_path / "j", make_plan(tmp_path), list(read_journal(tmp_path / "j").header.targets), [here])
    after = timed(tmp_path / "j")
    assert after[: len(before)] == before
    keys = Counter((r["item"], r["round"]) for r in records(tmp_path / "j", "sample"))
    assert set(keys.values()) == {1}
    assert read_journal(tmp_path / "j").complete


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    take(tmp_path / "j", plan, FakeSession())
    before = (tmp_path / "j").read_bytes()
    again = FakeSession()
    take(tmp_path / "j", plan, again)
    assert (tmp_path / "j").read_bytes() == before
    assert again.log == []


def test_ctrl_c_keeps_what_was_taken(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)

    def stop(progress: Progress) -> None:
        if progress.phase == "measure" and progress.done == 5:
            raise KeyboardInterrupt

    session = FakeSession()
    with pytest.raises(KeyboardInterrupt):
        take(tmp_path / "j", plan, session, progress=stop)
    assert len(records(tmp_path / "j", "sample")) == 5
    assert session._programs == {}


def test_without_parity_nothing_is_timed(tmp_path: Path) -> None:
    session = FakeSession(error=0.01)
    with pytest.raises(ParityError, match=r"op4\.onnx on fake.*differ from PyTorch's by 0\.01"):
        take(tmp_path / "j", make_plan(tmp_path), session)
    assert not [entry for entry in session.log if entry[0] == "time"]
    assert not records(tmp_path / "j", "parity")
    assert not records(tmp_path / "j", "sample")


def test_a_lying_stage_of_a_model_is_found(tmp_path: Path) -> None:
    bad = linear(tmp_path / "bad.onnx", scale=0.2)
    good = linear(tmp_path / "good.onnx")
    program = Program((Stage("a", bad), Stage("b", good)))
    plan = Plan((PlanItem("ok", "operator", Program.single(good)), PlanItem("m", "model", program)), rounds=1)
    session = FakeSession()
    session.run = lambda handle, inputs=None: {  # outputs of the graphs, not of the references
        name: value - (1.0 if "bad" in str(session._programs[handle].stages[-1].artifact.path) else 0.0)
        for name, value in FakeSession.run(session, handle).items()
    }
    with pytest.raises(ParityError, match=r"bad\.onnx"):
        take(tmp_path / "j", plan, session)
    assert ("time", program.sha256, 1) not in session.log


def test_a_journal_whose_parity_failed_does_not_count(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    take(tmp_path / "j", plan, FakeSession())
    lines = [json.loads(line) for line in (tmp_path / "j").read_text().splitlines()]
    kept = [r | {"max_abs_error": 9.0} if r["kind"] == "parity" else r for r in lines if r["kind"] != "sample"]
    (tmp_path / "j").write_text("".join(json.dumps(record) + "\n" for record in kept))
    with pytest.raises(ParityError):
        take(tmp_path / "j", plan, FakeSession(error=0.01))
    take(tmp_path / "j", plan, FakeSession())
    assert read_journal(tmp_path / "j").complete


def test_memory_is_kept_within_the_limit(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    largest = max(item.loaded_bytes for item in plan.items)
    for limit, most in ((1, 1), (10 * largest, 4)):
        session = FakeSession()
        take(tmp_path / f"j{limit}", replace(plan, memory_limit_bytes=limit), session)
        # one more while a stage of a model is proven by itself
        assert session.most_loaded <= most + 1
        assert read_journal(tmp_path / f"j{limit}").complete
        assert sum(kind == "load" for kind, *_ in session.log) > 4 * (most == 1) * plan.rounds - plan.rounds


def test_disturbance_is_shed_by_the_functional(tmp_path: Path) -> None:
    plan = replace(make_plan(tmp_path, rounds=9), samples=5)
    session = FakeSession(default_ms=0.2, disturbance=lambda n: 7.0 if n % 5 in (1, 3) else 0.0)
    take(tmp_path / "j", plan, session)
    for measured in read_journal(tmp_path / "j").measurements.values():
        assert measured.latency_ms("wall") == pytest.approx(0.2, rel=1e-6)


@pytest.mark.parametrize(
    ("truth_ms", "calls"), [(0.00001, 220_000), (0.001, 2200), (0.15, 15), (1.9, 2), (3.0, 1), (400.0, 1)]
)
def test_calibration_fits_the_sample(truth_ms: float, calls: int, tmp_path: Path) -> None:
    session = FakeSession(default_ms=truth_ms)
    handle = session.load(Program.single(linear(tmp_path / "a.onnx")))
    found, call_ms = calibrate(partial(session.time, handle), "wall", 2.0, "here")
    assert found == pytest.approx(calls, rel=0.01)
    assert call_ms == pytest.approx(truth_ms, rel=0.1)
    assert found == 1 or 2.0 <= found * truth_ms <= 50


def test_a_clock_that_stands_still_is_an_error(tmp_path: Path) -> None:
    session = FakeSession(default_ms=0.0)
    with pytest.raises(SessionError, match="the clock stands still"):
        handle = session.load(Program.single(linear(tmp_path / "a.onnx")))
        calibrate(partial(session.time, handle), "wall", 2.0, "here")


def test_sessions_and_journal_must_agree(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    with Journal.open(tmp_path / "j", plan.header([FAKE], workload={}, subject={})) as journal:
        with pytest.raises(JournalError, match="threads=2"):
            measure([partial(FakeSession, replace(FAKE, threads=2))], plan, journal)
        with pytest.raises(JournalError, match="other items"):
            measure([FakeSession], replace(plan, items=plan.items[:2]), journal)


def test_plans_that_cannot_be(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    for wrong, message in [
        ({"items": ()}, "nothing to measure"),
        ({"items": (*plan.items, plan.items[0])}, "op4 is given twice"),
        ({"rounds": 0}, "0 rounds"),
        ({"min_sample_ms": 51.0}, "min_sample_ms is 51"),
    ]:
        with pytest.raises(ProfilerError, match=message):
            replace(plan, **wrong)


def test_the_estimate_counts_every_sample(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)  # 4 items, 4 rounds, 3 samples of 2 ms
    assert estimate_s(plan) == pytest.approx(4 * 4 * 3 * 2e-3)
    assert estimate_s(plan, {"model": 100.0}, targets=2) == pytest.approx(2 * 4 * 3 * (3 * 2e-3 + 0.1))


def test_nothing_is_left_open_by_a_failing_device(tmp_path: Path) -> None:
    class Dies(FakeSession):
        def time(self, handle: str, calls: int, samples: int = 1):
            if samples == 3 and len(self.log) > 150:
                raise SessionError("fake: the worker died during time")
            return super().time(handle, calls, samples)

    with pytest.raises(SessionError, match="died during time"):
        take(tmp_path / "j", make_plan(tmp_path, rounds=20), Dies())
    taken = len(timed(tmp_path / "j"))
    assert taken > 0
    take(tmp_path / "j", make_plan(tmp_path, rounds=20), FakeSession())
    assert len(timed(tmp_path / "j")) == 80
    assert read_journal(tmp_path / "j").complete
