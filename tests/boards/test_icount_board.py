"""A board with a virtual clock: tables of two boots agree, say what they are, and lead to one winner."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from boards.icount_board import icount_board, missing
from cli.conftest import small_dictionary
from cli.shell import EVOLUTION, Shell

from latency_luts import LatencyLut
from latency_luts.diff import compare

pytestmark = pytest.mark.slow

ENTRY = """\
devices:
  icount:
    kind: ssh
    host: {board.host}
    port: {board.port}
    user: {board.user}
    key: {board.key}
    source: virtual-clock
"""
SPACE = """\
name: wide
family: seq2seq
workload: {batch: 2, beam: 4, source_tokens: 24, target_tokens: 8, vocabulary: 13}
choices:
  encoder_embed: [128, 192]
  encoder_layers: [1, 2]
  encoder_ffn: [256, 384]
  encoder_heads: [4]
  decoder_embed: [128, 192]
  decoder_layers: [1, 2]
  decoder_ffn: [256, 384]
  decoder_self_heads: [4]
  decoder_cross_heads: [4]
  decoder_attended: [1]
fixed: {qkv: 128, positions: 64}
"""
LONG_MS, AGREE = 0.2, 0.01


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    if (lack := missing()) is not None:
        if os.environ.get("CI"):
            pytest.fail(lack)
        pytest.skip(lack)
    folder = tmp_path_factory.mktemp("icount")
    (folder / "wide.yaml").write_text(SPACE)
    return Shell(folder, folder / "cache")


@pytest.fixture(scope="module")
def tables(shell: Shell) -> list[Path]:
    """The same table twice, each of a board that was booted for it."""
    made = []
    for boot in ("one", "two"):
        with pytest.MonkeyPatch.context() as patch, icount_board(shell.folder / boot) as board:
            patch.setenv("XDG_CONFIG_HOME", str(shell.folder / boot))
            (shell.folder / boot / "hwnas").mkdir()
            (shell.folder / boot / "hwnas" / "known_hosts").write_text(board.known_hosts.read_text())
            (shell.folder / "devices.yaml").write_text(ENTRY.format(board=board))
            made.append(shell.folder / f"{boot}.lut.jsonl")
            what = ("--space", "wide.yaml", "--device", "icount", "--calibration", "0", "--check", "2")
            told = shell("profile", *what, "--out", made[-1].name, "--json").json
            assert (told["source"], told["rounds"], told["incomplete"]) == ("virtual-clock", 3, None)
            assert told["outcome"]["statuses"] == {}
            assert not told["outcome"]["quarantined"]
    return made


def test_two_boots_agree(tables: list[Path]) -> None:
    one, two = map(LatencyLut.load, tables)
    assert one.target.clock == two.target.clock == "virtual"
    assert len(one.rows) - 1 >= 20, "one is the empty graph"
    assert set(one.rows) == set(two.rows)
    long = [operator for operator, row in one.rows.items() if row.latency_ms > LONG_MS]
    assert len(long) >= 12
    ratios = {operator: two.latency_ms(operator) / one.latency_ms(operator) for operator in long}
    assert max(abs(ratio - 1) for ratio in ratios.values()) <= AGREE, ratios
    for model, again in zip(one.models, two.models, strict=True):
        assert again.latency_ms == pytest.approx(model.latency_ms, rel=AGREE)


def test_instructions_are_in_proportion_to_the_work(tables: list[Path]) -> None:
    """Half as many units of a feed-forward network take about half as many instructions, for all that is fixed."""
    table = LatencyLut.load(tables[0])
    by_size = {
        (operator["embed"], operator["ffn"]): row.latency_ms
        for operator, row in table.rows.items()
        if operator.kind == "encoder_ffn"
    }
    assert by_size[128, 256] / by_size[128, 384] == pytest.approx(2 / 3, rel=0.1)
    assert by_size[128, 256] < by_size[192, 256] < by_size[192, 384]


def test_a_table_says_that_it_was_not_measured(tables: list[Path], shell: Shell) -> None:
    table = LatencyLut.load(tables[0])
    assert table.source == "virtual-clock"
    assert all(row.interval_ms is None and row.status is None for row in table.rows.values())
    assert "NOT MEASURED: every number here is virtual-clock" in shell("lut", "show", tables[0].name).out
    assert not compare(table, LatencyLut.load(tables[1]), tolerance=AGREE).missing
    (shell.folder / "x86.yaml").write_text("devices:\n  icount:\n    kind: local\n")
    what = ("--space", "wide.yaml", "--device", "icount", "--calibration", "0", "--check", "2", "--devices", "x86.yaml")
    before = tables[0].read_bytes()
    assert "threads=1/virtual, wanted are" in shell("profile", *what, "--out", tables[0].name).refusal
    assert tables[0].read_bytes() == before


def test_a_search_finds_the_same_winner_twice(tables: list[Path], shell: Shell) -> None:
    (shell.folder / "small.dict").write_text(small_dictionary())
    size = ("--updates", "30", "--batch", "16", "--warmup", "5")
    for command in (
        ("data", "g2p", "--file", "small.dict"),
        ("train", "--space", "wide.yaml", *size, "--out", "supernet.pt"),
    ):
        assert shell(*command).code == 0
    one = LatencyLut.load(tables[0])
    limit = sum(model.latency_ms for model in one.models) / len(one.models)
    winners = []
    for table in tables:
        options = ("--supernet", "supernet.pt", "--latency-ms", f"{limit:.2f}", "--method", "evolution", *EVOLUTION)
        ran = shell("search", "--space", "wide.yaml", "--table", table.name, *options, "--out", table.stem, "--json")
        assert "the finalists are not measured: the table is virtual-clock" in ran.err
        winners.append(ran.json["winner"])
    first, second = winners
    assert first["candidate"] == second["candidate"]
    assert first["loss"] == second["loss"]
    assert second["predicted_ms"] == pytest.approx(first["predicted_ms"], rel=AGREE)
