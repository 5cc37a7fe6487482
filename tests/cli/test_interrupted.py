"""kill -9 and Ctrl-C in the middle, then the same command again: it ends, and repeats nothing finished."""

import json
import signal

import pytest
from cli.shell import PROFILE, SEARCH, TRAIN, leftovers, records

pytestmark = pytest.mark.slow

UPDATES = 300
LONG_TRAIN = (*TRAIN[:3], "--updates", str(UPDATES), "--batch", "16", "--warmup", "5", "--checkpoint-every", "10")
LONG_PROFILE = (*PROFILE, "--rounds", "12")
LONG_SEARCH = (
    *SEARCH[:7], "--population", "40", "--parents", "10", "--mutants", "15", "--crossovers", "15",
    "--iterations", "10",
)  # fmt: skip

STOPS = {"kill": signal.SIGKILL, "ctrl-c": signal.SIGINT}
both = pytest.mark.parametrize("how", STOPS.values(), ids=STOPS)


def said(ran, how):
    """Ctrl-C is answered in one line, a kill in none."""
    lines = [line for line in ran.err.splitlines() if line.startswith("hwnas: ")]
    assert "Traceback" not in ran.err, ran.err
    assert [line.startswith("hwnas: interrupted") for line in lines] == ([True] if how == signal.SIGINT else [])
    return ran


def state(path):
    from hwnas.checkpoint import Checkpoint

    return Checkpoint.load(path)


@pytest.fixture(scope="module")
def undisturbed(chain):
    """The same training and search in one go."""
    for command in (
        (*LONG_TRAIN, "--out", "long.pt"),
        (*LONG_SEARCH, "--out", "long", "--no-measure"),
    ):
        ran = chain(*command)
        assert ran.code == 0, ran.err
    return chain.folder


@both
def test_training_ends_with_the_weights_of_an_undisturbed_one(shell, undisturbed, how, monkeypatch):
    import hwnas.training

    checkpoint = shell.folder / "stopped.pt"
    command = (*LONG_TRAIN, "--out", "stopped.pt")
    said(shell.stop(*command, when=lambda: checkpoint.exists() and state(checkpoint).update >= 40, how=how), how)
    found = state(checkpoint)
    assert 40 <= found.update < UPDATES
    assert found.update % 10 == 0

    made = hwnas.training.batch_of_update
    updates = []

    def noted(pairs, size, seed, update):
        updates.append(update)
        return made(pairs, size, seed, update)

    monkeypatch.setattr(hwnas.training, "batch_of_update", noted)
    ran = shell(*command)
    assert ran.code == 0, ran.err
    assert updates == list(range(found.update, UPDATES))
    ended, expected = state(checkpoint), state(undisturbed / "long.pt")
    assert ended.losses == expected.losses
    assert ended.model.keys() == expected.model.keys()
    assert all(ended.model[name].equal(weights) for name, weights in expected.model.items())
    if how == signal.SIGINT:
        assert leftovers(shell.folder) == []


@both
def test_a_search_ends_with_the_files_of_an_undisturbed_one(shell, undisturbed, how):
    stopped, expected = shell.folder / "stopped", undisturbed / "long"
    journal = stopped / "search.journal.jsonl"
    command = (*LONG_SEARCH, "--out", "stopped", "--no-measure")
    said(shell.stop(*command, when=lambda: len(records(journal)) > 20, how=how), how)
    kept = journal.read_bytes()
    assert 20 < len(records(journal)) < len(records(expected / "search.journal.jsonl"))
    assert shell.process(*command).code == 0
    assert journal.read_bytes().startswith(kept[: kept.rindex(b"\n") + 1])
    evaluated = [json.dumps(record["candidate"]) for record in records(journal)[1:]]
    assert len(evaluated) == len(set(evaluated))
    for name in ("search.journal.jsonl", "search.json", "winner.yml"):
        assert (stopped / name).read_bytes() == (expected / name).read_bytes()
    assert leftovers(stopped) == []


@both
def test_a_profile_repeats_no_sample(shell, how):
    journal = shell.folder / "stopped.journal.jsonl"
    command = (*LONG_PROFILE, "--out", "stopped.jsonl")

    def samples():
        return [record for record in records(journal) if record["kind"] == "sample"]

    items = len(records(shell.folder / "x86.lut.journal.jsonl")[0]["items"])
    said(shell.stop(*command, when=lambda: len(samples()) > items + 5, how=how), how)
    kept = journal.read_bytes()
    assert items + 5 < len(samples()) < 12 * items
    ran = shell.process(*command, "--json")
    assert ran.json["incomplete"] is None
    assert ran.json["rounds"] >= 10
    assert len(samples()) >= 10 * items
    assert journal.read_bytes().startswith(kept[: kept.rindex(b"\n") + 1])
    for kind, key, number in (
        ("sample", lambda r: (r["item"], r["round"]), None),
        ("reference", lambda r: (r["round"], r["position"]), None),
        ("calibration", lambda r: r["item"], items + 2),  # and the two reference workloads
        ("parity", lambda r: r["artifact"], None),
        ("header", lambda r: r["kind"], 1),
    ):
        taken = [key(record) for record in records(journal) if record["kind"] == kind]
        assert len(taken) == len(set(taken)) == (number or len(taken)) > 0
    assert leftovers(shell.folder) == []


def test_a_profile_stopped_while_graphs_are_exported_goes_on(shell, tmp_path):
    cache = tmp_path / "fresh"
    command = (*PROFILE, "--rounds", "2", "--cache", cache, "--out", "stopped.jsonl")

    def exported():
        return sorted(cache.glob("*.onnx"))

    said(shell.stop(*command, when=lambda: len(exported()) > 5, how=signal.SIGINT), signal.SIGINT)
    kept = {path: path.stat().st_mtime_ns for path in exported()}
    assert leftovers(tmp_path) == []
    assert shell.process(*command).code == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@both
def test_finalists_already_measured_are_not_measured_again(shell, undisturbed, how):
    journal = shell.folder / "stopped" / "finalists.journal.jsonl"
    command = (*LONG_SEARCH, "--rounds", "20", "--out", "stopped")

    def samples():
        return [(r["item"], r["round"]) for r in records(journal) if r["kind"] == "sample"]

    said(shell.stop(*command, when=lambda: len(samples()) > 20, how=how), how)
    kept = samples()
    ran = shell.process(*command, "--json")
    assert samples()[: len(kept)] == kept
    assert len(samples()) == len(set(samples())) >= 10 * len(records(journal)[0]["items"])
    expected = json.loads((undisturbed / "long" / "search.json").read_text())
    for found, wanted in zip(ran.json["finalists"], expected["finalists"], strict=True):
        assert (found["candidate"], found["loss"], found["predicted_ms"]) == (
            wanted["candidate"], wanted["loss"], wanted["predicted_ms"],
        )  # fmt: skip
    assert (shell.folder / "stopped" / "search.journal.jsonl").read_bytes() == (
        undisturbed / "long" / "search.journal.jsonl"
    ).read_bytes()


@both
def test_an_export_leaves_no_half_of_a_bundle(shell, how):
    command = ("export", "search/winner.yml", "--space", "tiny.yaml", "--supernet", "supernet.pt", "--out", "made")
    before = set(shell.folder.rglob("*.onnx"))
    said(shell.stop(*command, "--decoded", "5", when=lambda: {*shell.folder.rglob("*.onnx")} - before, how=how), how)
    assert not (shell.folder / "made").exists()
    assert shell.process(*command, "--decoded", "5").code == 0
    assert leftovers(shell.folder) == []
    assert shell("run", "made", "bado").code == 0
