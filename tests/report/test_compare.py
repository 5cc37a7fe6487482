"""Two runs beside each other: the same is called the same, and a difference beyond the noise is one."""

import json
import shutil

import pytest
from report.generated_run import write_run

from hwnas.errors import ReportError
from hwnas.report.compare import compare_runs


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("whole") / "one")


@pytest.fixture
def two(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "two")


def changed(path, **changes):
    """Put other values into a JSON file, deep keys joined by two underscores."""
    document = json.loads(path.read_text())
    for name, value in changes.items():
        *above, last = name.split("__")
        entry = document
        for key in above:
            entry = entry[key]
        entry[last] = value
    path.write_text(json.dumps(document))


def test_a_run_is_the_same_as_itself(whole):
    found = compare_runs(whole, whole)
    assert all(fact.same for fact in (*found.asked, *found.quality, found.losses))
    assert found.choices == ()
    assert found.same_scores
    assert (found.measured.ratio, found.measured.beyond_noise) == (1.0, False)
    assert found.table is not None
    assert not found.table.changed


@pytest.mark.parametrize(("factor", "beyond"), [(1.01, False), (0.97, False), (1.15, True), (0.85, True)])
def test_a_difference_is_held_against_the_noise_of_both(whole, two, factor, beyond):
    proof = json.loads((two / "bundle" / "manifest.json").read_text())["proof"]
    changed(
        two / "bundle" / "manifest.json",
        proof__measured_ms=proof["measured_ms"] * factor,
        proof__interval_ms=[end * factor for end in proof["interval_ms"]],
    )
    measured = compare_runs(whole, two).measured
    assert measured.ratio == pytest.approx(factor)
    assert measured.beyond_noise is beyond
    low, high = measured.noise
    assert low == pytest.approx(1 / high)
    assert 1.06 < high < 1.08  # two intervals of about 1 % and two sessions that differ by 3 % (one sigma)


def test_other_weights_make_losses_incomparable(whole, two):
    journal = two / "search.journal.jsonl"
    lines = journal.read_text().splitlines()
    header = json.loads(lines[0]) | {"evaluator": "other weights", "seed": 7}
    journal.write_text("\n".join([json.dumps(header), *lines[1:]]) + "\n")
    found = compare_runs(whole, two)
    assert not found.same_scores
    assert {fact.name for fact in found.asked if not fact.same} == {"seed"}


def test_choices_are_named_that_differ(whole, two):
    candidate = json.loads((two / "search.json").read_text())["winner"]["candidate"]
    other = {**candidate, "encoder_ffn.0": 64 if candidate["encoder_ffn.0"] != 64 else 128}
    changed(two / "search.json", winner__candidate=other)
    shutil.rmtree(two / "bundle")
    (fact,) = compare_runs(whole, two).choices
    assert (fact.name, fact.one, fact.two) == ("encoder_ffn.0", candidate["encoder_ffn.0"], other["encoder_ffn.0"])


def test_what_cannot_be_compared_is_said_and_not_guessed(whole, two):
    (two / "x86.lut.jsonl").unlink()
    found = compare_runs(whole, two)
    assert found.table is None
    assert "is not here" in found.no_table
    shutil.rmtree(two / "bundle")
    changed(two / "search.json", winner__measured_ms=None, winner__interval_ms=None)
    measured = compare_runs(whole, two).measured
    assert (measured.ratio, measured.noise, measured.beyond_noise) == (None, None, None)


def test_runs_of_different_spaces_differ_in_their_space(whole, two):
    journal = two / "search.journal.jsonl"
    lines = journal.read_text().splitlines()
    header = json.loads(lines[0]) | {"space": "mine", "fingerprint": "feedbeef"}
    journal.write_text("\n".join([json.dumps(header), *lines[1:]]) + "\n")
    for name in ("bundle", "finalists.journal.jsonl"):
        path = two / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = compare_runs(whole, two)
    (space,) = (fact for fact in found.asked if fact.name == "space")
    assert (space.one.partition(" ")[0], space.two.partition(" ")[0]) == ("g2p", "mine")


def test_a_space_of_neither_run_is_refused(whole, two):
    with pytest.raises(ReportError, match=r"hat_wmt14_ende .* is the space of neither run"):
        compare_runs(whole, two, space="hat_wmt14_ende")


def test_what_is_no_run_is_refused(whole, tmp_path):
    with pytest.raises(ReportError, match="is no run"):
        compare_runs(whole, tmp_path)
