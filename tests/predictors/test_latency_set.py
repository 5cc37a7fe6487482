from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from predictors.generated_set import generated, write_set

from hwnas.errors import DataError
from hwnas.predictors import read_latency_set
from hwnas.predictors.dataset import Split


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_set(tmp_path / "some.csv", generated(30))


def test_a_set_is_read_as_it_was_written(path: Path) -> None:
    rows, expected = read_latency_set(path), generated(30)
    assert (rows.name, len(rows)) == ("some", 30)
    for name in ("features", "encoder_ms", "decoder_ms", "encoder_std_ms", "decoder_std_ms", "latency_ms"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(expected, name))


def test_columns_may_stand_in_any_order_among_others(path: Path) -> None:
    """With a byte order mark, Windows' line ends and blank lines, too."""
    lines = [line.split(",") for line in path.read_text().splitlines()]
    turned = [",".join([*reversed(line), "more"]) for line in lines]
    other = path.with_name("other.csv")
    other.write_bytes(("\ufeff" + "\r\n\r\n".join(turned)).encode())
    np.testing.assert_array_equal(read_latency_set(other).features, read_latency_set(path).features)


def edit(line: int, place: int, field: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        lines = [line.split(",") for line in text.splitlines()]
        lines[line][place] = field
        return "\n".join(",".join(row) for row in lines)

    return change


SPOILT = {
    "empty": (lambda text: "", "is empty"),
    "blank": (lambda text: "\n\n", "is empty"),
    "header alone": (lambda text: text.splitlines()[0], "has 0 rows"),
    "too few rows": (lambda text: "\n".join(text.splitlines()[:11]), "has 10 rows; at least 20"),
    "missing column": (edit(0, 3, "heads"), "lacks the column 'encoder_self_attention_heads_avg'"),
    "missing deviation": (edit(0, 13, "sd"), "lacks the column 'latency_std_decoder'"),
    "repeated column": (edit(0, 13, "latency_std_encoder"), "more than one column 'latency_std_encoder'"),
    "text": (edit(5, 2, "many"), ":6: encoder_ffn_embed_dim_avg is 'many'"),
    "no field": (edit(5, 10, ""), ":6: latency_mean_encoder is ''"),
    "not a number": (edit(7, 11, "nan"), ":8: latency_mean_decoder is 'nan'"),
    "infinite": (edit(7, 11, "inf"), ":8: latency_mean_decoder is 'inf'"),
    "no latency": (edit(7, 11, "0"), "must be a number above 0"),
    "negative deviation": (edit(7, 13, "-1"), "must be a number not negative"),
    "torn row": (lambda text: text[: text.rindex(",")], ":31 has 13 fields, the header 14"),
    "another file": (lambda text: "{}\n" * 40, "lacks the column 'encoder_embed_dim'"),
}


@pytest.mark.parametrize(("spoil", "named"), SPOILT.values(), ids=SPOILT)
def test_what_is_no_set_is_refused_in_a_line(path: Path, spoil: Callable[[str], str], named: str) -> None:
    path.write_text(spoil(path.read_text()))
    with pytest.raises(DataError) as refused:
        read_latency_set(path)
    assert named in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_no_text_is_refused(path: Path) -> None:
    path.write_bytes(b"\x93NUMPY\x01\xff")
    with pytest.raises(DataError, match="not a text file"):
        read_latency_set(path)


def test_splits_are_hats() -> None:
    split = Split.of(2000, 0, 0)
    assert [len(part) for part in (split.train, split.valid, split.test)] == [1600, 200, 200]
    together = np.concatenate([split.train, split.valid, split.test])
    np.testing.assert_array_equal(np.sort(together), np.arange(2000))
    np.testing.assert_array_equal(split.test, Split.of(2000, 0, 0).test)
    assert len({tuple(Split.of(2000, seed, number).test) for seed in (0, 1) for number in (0, 1)}) == 4
