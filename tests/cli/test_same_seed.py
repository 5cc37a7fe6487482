"""The same seed gives the same winner in any process, whatever Python's hash seed."""

import pytest
from cli.shell import SEARCH


@pytest.mark.slow
@pytest.mark.parametrize("method", ["evolution", "random"])
def test_the_winner_does_not_depend_on_the_process(shell, method):
    found = []
    for hash_seed in ("0", "1", "4242"):
        ran = shell.process(
            *SEARCH, "--out", hash_seed, "--no-measure", "--method", method, "--seed", "3", PYTHONHASHSEED=hash_seed
        )
        assert ran.code == 0, ran.err
        made = shell.folder / hash_seed
        found.append({path.name: path.read_bytes() for path in made.iterdir()})
    assert {"search.json", "winner.yml", "front.json", "search.journal.jsonl"} == set(found[0])
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
def test_another_seed_takes_another_way(shell):
    journals = []
    for seed in ("3", "4"):
        assert shell(*SEARCH, "--out", f"seed{seed}", "--no-measure", "--seed", seed).code == 0
        journals.append((shell.folder / f"seed{seed}" / "search.journal.jsonl").read_text().splitlines()[1:])
    assert journals[0] != journals[1]
