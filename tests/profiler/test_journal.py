import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler import JournalError, JournalHeader, JournalItem, JournalPlan, Parity, Target, read_journal
from profiler.journal import parity_record
from profiler.journal_writer import Journal

TARGET = Target("x86", "onnxruntime-1.0", 1, "thread_cpu")
HEADER = JournalHeader(
    targets=(TARGET,),
    workload={"batch": 1},
    subject={"space": "g2p"},
    items=(JournalItem("ffn", "operator", "aa"), JournalItem("m0", "model", "bb", {"genes": [1, 2]})),
    plan=JournalPlan(rounds=2, samples=2, min_sample_ms=2.0, seed=7),
)


def sample(item: str, number: int, wall: tuple[int, ...] = (4000, 2000)) -> dict[str, object]:
    return {
        "kind": "sample",
        "target": str(TARGET),
        "item": item,
        "program": "aa",
        "round": number,
        "calls": 2,
        "wall_ns": list(wall),
        "cpu_ns": [value // 2 for value in wall],
    }


def write(path: Path, *records: dict[str, object]) -> None:
    with Journal.open(path, HEADER) as journal:
        for record in records:
            journal.append(record)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "j.jsonl"
    parity = Parity(1e-6, 2.0, 2e-4, 120.0)
    write(path, parity_record(str(TARGET), "aa", parity), sample("ffn", 0), sample("ffn", 1), sample("m0", 0))
    content = read_journal(path)
    assert content.header.items == HEADER.items
    assert content.header.targets == HEADER.targets
    assert content.header.created
    assert content.parity == {(str(TARGET), "aa"): parity}
    measured = content.measurements[str(TARGET), "ffn"]
    assert [r.round for r in measured.rounds] == [0, 1]
    assert measured.latency_ms("wall") == pytest.approx(2000 / 2 / 1e6)
    assert not content.complete
    write(path, sample("m0", 1))
    assert read_journal(path).complete


def test_unknown_kinds_and_keys_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    write(path, {"kind": "from_the_future", "x": 1}, sample("ffn", 0) | {"humidity": 3})
    lines = path.read_text().splitlines()
    lines[0] = json.dumps(json.loads(lines[0]) | {"later": True})
    path.write_text("\n".join(lines) + "\n")
    assert set(read_journal(path).measurements) == {(str(TARGET), "ffn")}
    write(path, sample("ffn", 1))


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(min_value=1, max_value=400))
def test_cut_anywhere_the_whole_lines_remain(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "j.jsonl"
    write(path, *(sample("ffn", number) for number in range(5)))
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    whole = content[:-cut].count(b"\n") - 1
    write(path, sample("ffn", 9))
    rounds = [r.round for r in read_journal(path).measurements[str(TARGET), "ffn"].rounds]
    assert rounds == [*range(whole), 9]


def test_a_torn_header_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text('{"kind":"hea')
    with pytest.raises(JournalError, match="empty"):
        read_journal(path)
    write(path, sample("ffn", 0))
    assert read_journal(path).header.subject == HEADER.subject


def test_damage_in_the_middle_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    write(path, *(sample("ffn", number) for number in range(3)))
    lines = path.read_text().splitlines()
    lines[2] = lines[2][:40]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(JournalError, match="line 3 is damaged"):
        read_journal(path)
    with pytest.raises(JournalError, match="line 3 is damaged"):
        write(path)


def test_a_damaged_last_line_with_its_newline_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    write(path, sample("ffn", 0))
    path.write_bytes(path.read_bytes() + b"\0\0\0\n")
    write(path, sample("ffn", 1))
    assert len(read_journal(path).measurements[str(TARGET), "ffn"].rounds) == 2


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(HEADER, plan=replace(HEADER.plan, rounds=9)), "plan has rounds 2, wanted is 9"),
        (replace(HEADER, subject={"space": "wmt"}), "subject has space 'g2p', wanted is 'wmt'"),
        (replace(HEADER, workload={"batch": 2}), "workload has batch 1, wanted is 2"),
        (replace(HEADER, targets=(replace(TARGET, threads=2, clock="wall"),)), "threads=1.*threads=2"),
        (replace(HEADER, items=HEADER.items[:1]), "m0, which is not wanted"),
        (replace(HEADER, items=(*HEADER.items, JournalItem("new", "model", "cc"))), "lacks new"),
        (
            replace(HEADER, items=(JournalItem("ffn", "operator", "zz"), HEADER.items[1])),
            "ffn has another program",
        ),
        (replace(HEADER, items=HEADER.items[::-1]), "another order"),
    ],
)
def test_another_run_is_refused_naming_what_differs(tmp_path: Path, other: JournalHeader, message: str) -> None:
    path = tmp_path / "j.jsonl"
    write(path, sample("ffn", 0))
    before = path.read_bytes()
    with pytest.raises(JournalError, match=f"of another run.*{message}.*another --out"):
        Journal.open(path, other)
    assert path.read_bytes() == before


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal.open(path, HEADER):
        code = (
            "import sys; from pathlib import Path; from profiler import JournalError\n"
            "from profiler.journal_writer import Journal; from tests_header import HEADER\n"
        )
        (tmp_path / "tests_header.py").write_text(
            f"from profiler import *\nHEADER = {HEADER!r}\n".replace("Target(", "Target(").replace(
                "mappingproxy", "dict"
            )
        )
        code += "try: Journal.open(Path(sys.argv[1]), HEADER)\nexcept JournalError as exc: print(exc)"
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
        )
    assert "written by another process" in done.stdout
    Journal.open(path, HEADER).close()


def test_what_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with pytest.raises(JournalError, match="cannot read"):
        read_journal(path)
    path.write_text('{"kind":"table"}\n{"a":1}\n')
    with pytest.raises(JournalError, match="no header"):
        read_journal(path)
    path.write_text(json.dumps(HEADER.as_dict() | {"schema": 99}) + "\n{}\n")
    with pytest.raises(JournalError, match="schema 99"):
        read_journal(path)


def test_no_space_is_one_line_and_keeps_what_is_there(tmp_path: Path) -> None:
    """A file size limit stands in for a full disk: writing fails in the middle of a line."""
    path = tmp_path / "j.jsonl"
    code = f"""
import resource, signal, sys
from pathlib import Path
from profiler import *
from profiler.journal_writer import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal.open(Path(sys.argv[1]), {HEADER!r})
journal.append({sample("ffn", 0)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (Path(sys.argv[1]).stat().st_size + 20,) * 2)
try:
    journal.append({sample("ffn", 1)!r})
except JournalError as exc:
    print(exc)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert "cannot write journal" in done.stdout
    assert path.read_bytes().endswith(b"\n")
    assert [r.round for r in read_journal(path).measurements[str(TARGET), "ffn"].rounds] == [0]
