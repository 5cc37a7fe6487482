"""What a page says of runs that lack something, and what is no run at all."""

import json
import re
import shutil

import pytest
from report.generated_run import (
    TABLE,
    write_bundle,
    write_estimated_table,
    write_result,
    write_run,
    write_search,
)
from report.reading import Page

from hwnas.errors import ReportError
from hwnas.report.page import write_report
from hwnas.search.identity import fingerprint_of
from latency_luts import LatencyLut


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("whole") / "search")


@pytest.fixture
def run(whole, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(whole, tmp_path / "search")


def shown(*runs, **options):
    out = runs[0].parent / "page.html"
    report = write_report(runs, out, **options)
    return report, Page.of(out).shown


def test_a_whole_run_lacks_nothing(run):
    report, text = shown(run)
    assert report.missing == ()
    assert "The limit holds." in text
    assert "% below the limit of 0.3200 ms" in text.replace("\u00a0", " ")
    assert "% above its prediction" in text.replace("\u00a0", " ") or "% below its prediction" in text
    assert "1.2 % slower than in the table's rounds" in text.replace("\u00a0", " ")
    assert "What this page lacks" not in text


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("x86.lut.jsonl", "the latency table that the search used"),
        ("search.json", "the search has not ended"),
        ("explain.json", "the runtime's own profile"),
        ("bundle", "a bundle, measured as exported"),
        ("baseline", "random search at equal cost"),
    ],
)
def test_a_part_that_is_missing_is_named_with_what_makes_it(run, gone, said):
    path = run / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    report, text = shown(run)
    assert any(said in part for part in report.missing)
    assert said in text


@pytest.mark.parametrize("gone", ["search.journal.jsonl", "finalists.journal.jsonl", "baseline/search.json"])
def test_any_other_file_may_be_missing_too(run, gone):
    (run / gone).unlink()
    assert "The limit holds." in shown(run)[1]


def test_a_bundle_alone_is_a_run(run):
    _, text = shown(run / "bundle")
    assert "The limit holds." in text
    assert "word error rate" in text


def test_a_table_above_the_run_is_found(run):
    (run / "x86.lut.jsonl").rename(run.parent / "x86.lut.jsonl")
    assert shown(run)[0].missing == ()


def test_another_table_than_the_searchs_is_not_taken_for_it(run):
    write_estimated_table(run / "x86.lut.jsonl")
    report, _ = shown(run)
    assert any("the latency table that the search used" in part for part in report.missing)


def test_it_says_if_the_limit_is_broken(run):
    winner = json.loads((run / "search.json").read_text())["winner"]
    shutil.rmtree(run / "bundle")
    write_bundle(run / "bundle", LatencyLut.load(TABLE), winner, measured_ms=0.335)
    text = shown(run)[1].replace("\u00a0", " ")
    assert "The limit is broken." in text
    assert "4.7 % above the limit of 0.3200 ms" in text
    shutil.rmtree(run / "bundle")
    write_bundle(run / "bundle", LatencyLut.load(TABLE), winner, measured_ms=0.319)
    assert "The limit is within the noise." in shown(run)[1]


def test_it_says_if_nobody_won(run):
    document = json.loads((run / "search.json").read_text())
    (run / "search.json").write_text(json.dumps(document | {"winner": None}))
    assert "No finalist met the limit" in shown(run)[1]


def test_an_estimate_is_never_taken_for_a_measurement(tmp_path):
    run = tmp_path / "search"
    run.mkdir()
    table = LatencyLut.load(write_estimated_table(run / "npu.lut.jsonl"))
    found = write_search(run, table, "evolution", confidence=None)
    write_result(run, table, found, "evolution", measured=False)
    report, text = shown(run)
    assert "Not measured." in text
    assert text.count("estimated by vela") >= 4
    assert "predicted latency" not in text
    assert not any("profile" in part for part in report.missing)


def test_a_torn_last_line_is_dropped_and_said(run):
    journal = run / "search.journal.jsonl"
    journal.write_text(journal.read_text()[:-20])
    report, text = shown(run)
    assert any("it was cut off" in part for part in report.missing)
    assert "The limit holds." in text


def test_damage_is_named_with_its_line(run):
    journal = run / "search.journal.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([*lines[:3], "{nonsense", *lines[4:]]) + "\n")
    with pytest.raises(ReportError, match=r"search\.journal\.jsonl is damaged in line 4"):
        shown(run)
    (run / "search.json").write_text("{")
    journal.unlink()
    with pytest.raises(ReportError, match=r"search\.json is damaged"):
        shown(run)


@pytest.mark.parametrize(
    "record",
    [
        {"loss": 0.25},
        {"candidate": {"encoder_embed": 64}, "loss": 0.25},
        {"candidate": 3, "loss": 0.25},
        {"candidate": {"encoder_embed": "wide"}, "loss": 0.25},
    ],
)
def test_a_record_that_is_no_candidate_is_refused(run, record):
    with (run / "search.journal.jsonl").open("a") as journal:
        journal.write(json.dumps(record) + "\n")
    with pytest.raises(ReportError, match=r"search\.journal\.jsonl is damaged in line \d+"):
        shown(run)


def test_how_to_do_it_again_tells_what_was_given_and_not_what_was_kept(run):
    journal = run / "search.journal.jsonl"
    lines = journal.read_text().splitlines()
    header = json.loads(lines[0]) | {
        "searcher": "darts",
        "settings": {"steps": 50, "adapt_weights": False},
        "limits": "latency <= 0.3136 ms, params <= 1.5 M, peak memory <= 3 MiB",
        "evaluator": "0123456789abcdef/fedcba/subset 0011",
    }
    journal.write_text("\n".join([json.dumps(header), *lines[1:]]) + "\n")
    again = " ".join(shown(run)[1].split())
    for words in (
        "--method darts --set steps=50 --set adapt_weights=false",
        "--seeds 2 --latency-ms 0.32 --margin 0.02 --params-m 1.5 --peak-memory-mib 3 --subset SUBSET.json",
    ):
        assert words in again


def test_a_limit_of_the_search_is_not_taken_from_another_winners_bundle(run):
    manifest = run / "bundle" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"limit_ms": 9.0}))
    assert "% below the limit of 0.3200 ms" in shown(run)[1].replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("limits", "verdict", "again"),
    [
        (
            "x86: latency <= 0.32 ms; npu: latency <= 9 ms",
            "The limit holds.",
            "--latency-ms 0.32 --latency-ms 9 --margin",
        ),
        ("npu: latency <= 9 ms", "There was no latency limit.", "--latency-ms inf --latency-ms 9 --margin"),
        ("x86: latency <= 0.32 ms", "The limit holds.", "--latency-ms 0.32 --latency-ms inf --margin"),
    ],
)
def test_each_device_has_its_table_and_its_limit(run, limits, verdict, again):
    npu = write_estimated_table(run.parent / "npu.lut.jsonl")
    result, journal = run / "search.json", run / "search.journal.jsonl"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"limits": limits, "searched": limits}))
    shutil.rmtree(run / "bundle")
    header, *rest = journal.read_text().splitlines()
    told = json.loads(header)
    told |= {"limits": limits, "latency": f"{told['latency']}/{fingerprint_of(LatencyLut.load(npu))}"}
    journal.write_text("\n".join([json.dumps(told), *rest]) + "\n")
    text = " ".join(shown(run, npu)[1].replace("\u00a0", " ").split())
    assert verdict in text
    assert "--table x86.lut.jsonl --table npu.lut.jsonl --supernet" in text
    assert again in text
    assert "predicted on npu" in text
    assert bool(re.search(r"limit 9(\.0+)? ms", text)) == ("npu" in limits)
    assert ("no limit there" in text) == ("npu" not in limits)


def test_a_bundle_that_was_not_measured_is_no_device(run):
    manifest = run / "bundle" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"proof": None}))
    assert "The same networks on every device" not in shown(run)[1]


def test_what_is_no_run_is_refused(tmp_path, run):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("nothing")
    for path, said in (
        (tmp_path / "empty", "is no run: it is empty"),
        (tmp_path / "other", "is no run: it has no search.journal.jsonl"),
        (tmp_path / "gone", "is not there"),
        (run / "winner.yml", "is a file"),
        (run / "x86.lut.jsonl", "only tables are given"),
    ):
        with pytest.raises(ReportError, match=said):
            shown(path)


def test_runs_of_different_spaces_are_refused(run):
    other = shutil.copytree(run, run.parent / "other")
    lines = (other / "search.journal.jsonl").read_text().splitlines()
    header = json.loads(lines[0]) | {"space": "mine", "fingerprint": "feedbeef"}
    (other / "search.journal.jsonl").write_text("\n".join([json.dumps(header), *lines[1:]]) + "\n")
    with pytest.raises(ReportError, match="of one space: write one for each"):
        shown(run, other)


def test_a_table_of_another_space_is_refused(run):
    lines = TABLE.read_text().splitlines()
    header = json.loads(lines[0]) | {"subject": {"space": "mine", "fingerprint": "feedbeef"}}
    other = run.parent / "mine.lut.jsonl"
    other.write_text("\n".join([json.dumps(header), *lines[1:]]) + "\n")
    with pytest.raises(ReportError, match="give a table of theirs"):
        shown(run, other)


def test_what_a_file_says_is_text_and_never_markup(run):
    document = json.loads((run / "search.json").read_text())
    document["changed"] = ["<script>alert(1)</script>"]
    (run / "search.json").write_text(json.dumps(document))
    write_report([run], run / "page.html")
    assert "<script>alert" not in (run / "page.html").read_text()
    assert "<script>alert(1)</script>" in Page.of(run / "page.html").shown
