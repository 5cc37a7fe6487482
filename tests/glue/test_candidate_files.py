"""Candidate files: read with the space that is named, that they name, or that they need."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from hwnas.candidates import read_any_candidate, read_candidate, write_candidate
from hwnas.errors import SpaceError
from hwnas.spaces import load_space


@pytest.mark.parametrize("name", ["g2p", "hat_wmt14_ende"])
def test_a_written_candidate_names_its_space(tmp_path: Path, name: str) -> None:
    space = load_space(name)
    for seed in range(5):
        candidate, path = space.sample(random.Random(seed)), tmp_path / "deep" / f"{seed}.yml"
        write_candidate(path, space, candidate)
        found, family, read = read_any_candidate(path, None, None)
        assert (found, read) == (space, candidate)
        assert family.count(found, read, found.workload, "full").params > 0
        assert read_candidate(path, space) == candidate


def test_hats_own_files_are_read_with_any_space_or_none(tmp_path: Path) -> None:
    space = load_space("hat_wmt14_ende")
    candidate, path = space.sample(random.Random(1)), tmp_path / "hat.yml"
    write_candidate(path, space, candidate, hat=True)
    assert "encoder-embed-dim-subtransformer" in path.read_text()
    assert read_any_candidate(path, "hat_wmt14_ende", None)[::2] == (space, candidate)
    alone, _, read = read_any_candidate(path, None, None)
    assert alone.candidate(candidate.as_dict()) == candidate
    assert read == candidate


def test_the_space_that_is_asked_for_comes_first(tmp_path: Path) -> None:
    g2p, path = load_space("g2p"), tmp_path / "c.yml"
    write_candidate(path, g2p, g2p.extreme(0))
    with pytest.raises(SpaceError, match=r"c\.yml.* is not in space 'hat_wmt14_ende'; it allows"):
        read_any_candidate(path, "hat_wmt14_ende", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("space: nowhere\nchoices: {}\n", "'nowhere' is neither a file nor a space that ships"),
        ("space: g2p\nchoices: {}\n", r"c\.yml: candidate lacks 'encoder_embed'"),
        ("a: [", r"c\.yml is not YAML"),
        ("a: 2026-13-45", r"c\.yml is not YAML: month must be in 1\.\.12"),
        ("- 1\n", r"c\.yml is not a SubTransformer"),
        ("space: g2p\n", r"c\.yml"),
    ],
)
def test_files_that_are_no_candidates_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.yml"
    path.write_text(text)
    with pytest.raises(SpaceError, match=message) as caught:
        read_any_candidate(path, None, None)
    assert "\n" not in str(caught.value)


def test_a_candidate_of_ours_that_names_no_space_is_not_counted_as_hats(tmp_path: Path) -> None:
    space, path = load_space("g2p"), tmp_path / "c.yml"
    path.write_text(json.dumps(space.extreme(0).as_dict()))
    with pytest.raises(SpaceError, match=r"c\.yml: it names no space and is not HAT's YAML; name its space"):
        read_any_candidate(path, None, None)
    assert read_any_candidate(path, "g2p", None)[2] == space.extreme(0)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"nothing\.yml"):
        read_any_candidate(tmp_path / "nothing.yml", None, None)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space, path = load_space("g2p"), tmp_path / "c.yml"
    write_candidate(path, space, space.extreme(0))
    before = path.read_bytes()

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_candidate(path, space, space.extreme(-1))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
