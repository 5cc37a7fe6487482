"""Seq2seq spaces from YAML, their terms, and families found by name."""

import random
import sys
from collections import Counter
from dataclasses import replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import SpaceError
from hwnas.families import get_family
from hwnas.spaces import load_space, shipped_spaces
from hwnas.workload import Workload
from latency_luts import OperatorSpec

DOCUMENT = {
    "name": "mine",
    "family": "seq2seq",
    "workload": {"beam": 2, "source_tokens": 5, "target_tokens": 4, "vocabulary": 11},
    "choices": {
        "encoder_embed": [8, 16],
        "encoder_layers": [2, 3],
        "encoder_ffn": [8, 12],
        "encoder_heads": [1, 2],
        "decoder_embed": [8, 12],
        "decoder_layers": [1, 3],
        "decoder_ffn": [8, 12],
        "decoder_self_heads": [1, 2],
        "decoder_cross_heads": [2, 4],
        "decoder_attended": [1, 2],
    },
    "fixed": {"qkv": 16, "positions": 32},
}


def write_space(path, **changes):
    """``DOCUMENT`` with changes like ``fixed={"qkv": 3}`` merged in, written to ``path``."""
    document = {key: dict(value) if isinstance(value, dict) else value for key, value in DOCUMENT.items()}
    for key, value in changes.items():
        if isinstance(value, dict):
            document[key] = {**document[key], **value}
        else:
            document[key] = value
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def enumerate_operators(candidate, workload, qkv):
    """What a candidate pays, spelled out layer by layer."""
    batch, beam, steps = workload.batch, workload.beam, workload.target_tokens
    source, vocabulary = workload.source_tokens, workload.vocabulary
    embed, decoder = candidate["encoder_embed"], candidate["decoder_embed"]
    paid = Counter()

    def pay(count, kind, bits="", **sizes):
        precision = "int8-dynamic" if bits in candidate and candidate[bits] == 8 else "fp32"
        paid[replace(OperatorSpec.of(kind, **sizes), precision=precision)] += count

    pay(1, "source_embedding", batch=batch, embed=embed, tokens=source, vocabulary=vocabulary)
    for i in range(candidate["encoder_layers"]):
        heads, ffn = candidate[f"encoder_heads.{i}"], candidate[f"encoder_ffn.{i}"]
        bits = f"encoder_attention_bits.{i}"
        pay(1, "encoder_self_attention", bits, batch=batch, embed=embed, heads=heads, qkv=qkv, tokens=source)
        pay(1, "encoder_ffn", f"encoder_ffn_bits.{i}", batch=batch, embed=embed, ffn=ffn, tokens=source)
    rows = {"batch": batch, "beam": beam, "embed": decoder}
    pay(steps, "target_embedding", **rows, vocabulary=vocabulary)
    pay(steps, "output_projection", "output_bits", **rows, vocabulary=vocabulary)
    for i in range(candidate["decoder_layers"]):
        heads, attended = candidate[f"decoder_cross_heads.{i}"], candidate[f"decoder_attended.{i}"]
        pay(
            1, "cross_projection", f"decoder_cross_bits.{i}",
            attended=attended, batch=batch, embed=embed, heads=heads, qkv=qkv, tokens=source,
        )  # fmt: skip
        pay(
            steps, "decoder_self_attention", f"decoder_self_bits.{i}",
            **rows, cache=workload.cache, heads=candidate[f"decoder_self_heads.{i}"], qkv=qkv,
        )  # fmt: skip
        bits = f"decoder_cross_bits.{i}"
        pay(steps, "decoder_cross_attention", bits, **rows, heads=heads, qkv=qkv, tokens=attended * source)
        pay(steps, "decoder_ffn", f"decoder_ffn_bits.{i}", **rows, ffn=candidate[f"decoder_ffn.{i}"])
    return paid


@pytest.mark.parametrize("name", shipped_spaces())
def test_shipped_spaces_load_under_their_own_name(name):
    space = load_space(name)
    assert space.name == name
    assert space.family == "seq2seq"


def test_sizes_of_hats_spaces_as_the_paper_has_them():
    assert load_space("hat_wmt14_ende").size() == pytest.approx(4.2e14, rel=0.01)
    assert load_space("hat_iwslt14_deen").size() == load_space("hat_wmt14_ende").size()
    assert load_space("hat_latency").size() == pytest.approx(1.9e19, rel=0.01)


@pytest.mark.parametrize("name", [*shipped_spaces(), "mine"])
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32))
def test_terms_decompose_a_candidate_into_exactly_its_operators(tmp_path_factory, name, seed):
    path = write_space(tmp_path_factory.getbasetemp() / "mine.yaml") if name == "mine" else name
    space = load_space(path)
    workload = space.workload
    candidate = space.sample(random.Random(seed))
    gene = dict(zip((choice.name for choice in space.choices), space.encode(candidate).tolist(), strict=True))
    paid = Counter()
    for term in get_family("seq2seq").terms(space, workload):
        if all(gene[name] == index for name, index in term.when.items()):
            paid[term.operator] += term.count
    assert paid == enumerate_operators(candidate, workload, space.fixed["qkv"])


def test_a_layer_every_candidate_has_is_not_conditional(tmp_path):
    space = load_space(write_space(tmp_path / "s.yaml"))
    gates = {choice.name: choice.when for choice in space.choices}
    assert gates["encoder_ffn.1"] is None
    assert gates["encoder_ffn.2"] == ("encoder_layers", 3)
    assert gates["decoder_ffn.0"] is None
    assert gates["decoder_attended.1"] == ("decoder_layers", 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choices": {"encoder_heads": [3]}}, "choices.encoder_heads: 3 heads do not divide fixed.qkv = 16"),
        ({"choices": {"decoder_attended": [3]}}, "choices.decoder_attended: 3 layers .* only 2"),
        ({"choices": {"decoder_ffn": []}}, "choices.decoder_ffn: "),
        ({"choices": {"decoder_ffn": [8, 8]}}, "repeated values"),
        ({"choices": {"decoder_ffn": ["8"]}}, "choices.decoder_ffn.0: "),
        (
            {"choices": {"precisions": ["fp32", "int8"]}},
            "choices.precisions: 'int8' cannot be mixed; a block may be in fp32, ",
        ),
        ({"choices": {"precisions": ["fp32", "fp32"]}}, "repeated values"),
        ({"choices": {"precisions": []}}, "choices.precisions: "),
        ({"choices": {"depth": [1]}}, "unknown key 'choices.depth'"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"fixed": {"qkv": 0}}, "fixed.qkv: "),
        ({"fixed": {"positions": 4}}, "fixed.positions: 4 is less than the workload's 5 tokens"),
        ({"workload": {"beams": 3}}, "unknown beams"),
        ({"family": "decoder-only"}, "unknown family 'decoder-only'; known: seq2seq"),
        ({"family": "no.such.package:Family"}, "'no.such.package:Family' cannot be imported"),
        ({"family": "json:Family"}, "family 'json:Family'"),
    ],
)
def test_impossible_spaces_say_in_one_line_what_is_wrong(tmp_path, changes, message):
    with pytest.raises(SpaceError, match=message) as caught:
        load_space(write_space(tmp_path / "s.yaml", **changes))
    assert "\n" not in str(caught.value)
    assert "s.yaml" in str(caught.value)


@pytest.mark.parametrize("text", ["a: [1, 2", "- a\n- b", "", "name: x"])
def test_files_that_are_no_spaces(tmp_path, text):
    path = tmp_path / "s.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpaceError, match=r"s\.yaml") as caught:
        load_space(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_space_names_the_known_ones():
    with pytest.raises(SpaceError, match=r"'nosuch' is neither a file nor .* known: g2p, g2p_mixed, hat_"):
        load_space("nosuch")


@pytest.mark.parametrize("named_in", ["argument", "file"])
def test_a_family_of_the_users_own_from_the_working_directory(tmp_path, monkeypatch, named_in):
    module = f"my_family_{named_in}"
    (tmp_path / f"{module}.py").write_text(
        "from hwnas.families.seq2seq.family import Seq2Seq\n\n\nclass Mine(Seq2Seq):\n    own = True\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    if named_in == "argument":
        space = load_space(write_space(tmp_path / "s.yaml"), family=f"{module}:Mine")
    else:
        space = load_space(write_space(tmp_path / "s.yaml", family=f"{module}:Mine"))
    assert space.family == f"{module}:Mine"
    assert get_family(space.family).own


def test_memory_grows_with_every_choice_and_with_the_workload(tmp_path):
    space, family = load_space(write_space(tmp_path / "s.yaml")), get_family("seq2seq")
    small, large = space.extreme(0), space.extreme(-1)
    base = family.peak_memory_bytes(space, small, space.workload)
    assert family.peak_memory_bytes(space, large, space.workload) > base
    wider = Workload(**space.workload.as_dict() | {"beam": 40})
    assert family.peak_memory_bytes(space, small, wider) > base
    assert base > 4 * family.count(space, small, space.workload, "full").params


def test_a_decoder_step_holds_its_caches_twice(tmp_path):
    """As they were and grown, keys and values of every layer: what another token of a long target costs."""
    space, family = load_space(write_space(tmp_path / "s.yaml")), get_family("seq2seq")
    large = space.extreme(-1)
    needed = [
        family.peak_memory_bytes(
            space, large, Workload(**space.workload.as_dict() | {"target_tokens": tokens, "beam": 9})
        )
        for tokens in (5000, 5001)
    ]
    cache = 2 * 2 * large["decoder_layers"] * 9 * space.fixed["qkv"]
    scores = 2 * 9 * max(value for name, value in large.entries if "_heads" in name)
    assert (needed[1] - needed[0]) / 4 == cache + scores
