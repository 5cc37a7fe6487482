"""SubTransformer files, HAT's and ours."""

import random

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import SpaceError
from hwnas.families.seq2seq.hat_yaml import (
    hat_document,
    read_candidate,
    read_stand_alone,
    space_of_hat_yaml,
)
from hwnas.spaces import load_space
from hwnas.workload import Workload

SPACE = load_space("hat_wmt14_ende")
TEXT = """\
encoder-embed-dim-subtransformer: 512
decoder-embed-dim-subtransformer: 640

encoder-ffn-embed-dim-all-subtransformer: [1024, 3072, 3072, 2048, 2048, 2048]
decoder-ffn-embed-dim-all-subtransformer: [3072, 1024, 2048]

encoder-layer-num-subtransformer: 6
decoder-layer-num-subtransformer: 2

encoder-self-attention-heads-all-subtransformer: [4, 8, 4, 4, 4, 8]
decoder-self-attention-heads-all-subtransformer: [8, 4, 4]
decoder-ende-attention-heads-all-subtransformer: [4, 8, 99]
# -1, 1, 2: the last one, two, three encoder layers
decoder-arbitrary-ende-attn-all-subtransformer: [2, -1, 77]
"""


def write(tmp_path, text):
    path = tmp_path / "candidate.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_hats_file_is_read_and_inert_layers_are_ignored(tmp_path):
    candidate = read_candidate(write(tmp_path, TEXT), SPACE)
    assert candidate["encoder_embed"] == 512
    assert candidate["decoder_embed"] == 640
    assert [candidate[f"encoder_ffn.{i}"] for i in range(6)] == [1024, 3072, 3072, 2048, 2048, 2048]
    assert [candidate[f"decoder_attended.{i}"] for i in range(2)] == [3, 1]
    assert [candidate[f"decoder_cross_heads.{i}"] for i in range(2)] == [4, 8]
    assert "decoder_ffn.2" not in candidate


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32))
def test_what_is_written_for_hat_is_read_back(tmp_path_factory, seed):
    path = tmp_path_factory.getbasetemp() / "written.yml"
    candidate = SPACE.sample(random.Random(seed))
    path.write_text(hat_document(candidate))
    assert read_candidate(path, SPACE) == candidate
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert len(document["decoder-ffn-embed-dim-all-subtransformer"]) == candidate["decoder_layers"]
    assert set(document["decoder-arbitrary-ende-attn-all-subtransformer"]) <= {-1, 1, 2}


@pytest.mark.parametrize("wrapped", [False, True])
def test_our_own_mapping_is_read(tmp_path, wrapped):
    candidate = SPACE.sample(random.Random(4))
    document = {"space": "x", "choices": candidate.as_dict()} if wrapped else candidate.as_dict()
    assert read_candidate(write(tmp_path, yaml.safe_dump(document)), SPACE) == candidate


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "decoder-layer-num-subtransformer: 2",
            "decoder-layer-num-subtransformer: 4",
            "list of at least 4 layers",
        ),
        ("decoder-layer-num-subtransformer: 2", "", "decoder-layer-num-subtransformer is missing"),
        ("[2, -1, 77]", "[3, -1]", "3 is not one of -1, 1, 2"),
        (
            "encoder-embed-dim-subtransformer: 512",
            "encoder-embed-dim-subtransformer: 500",
            "500 is not in space",
        ),
        ("[3072, 1024, 2048]", "[3072, x]", "'x' is not a whole number"),
        ("encoder-layer-num-", "encoder-layer-number-", "is not a key of a HAT SubTransformer"),
        (TEXT, "- 1", "is not a SubTransformer"),
        (TEXT, "a: [", "is not YAML"),
        (TEXT, "encoder_embed: 512", "candidate lacks 'encoder_layers'"),
    ],
)
def test_unusable_files_say_what_is_wrong(tmp_path, old, new, message):
    with pytest.raises(SpaceError, match=message) as caught:
        read_candidate(write(tmp_path, TEXT.replace(old, new)), SPACE)
    assert "candidate.yml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(SpaceError, match="cannot be read"):
        read_candidate(tmp_path / "none.yml", SPACE)


def test_a_file_without_a_space_gets_the_smallest_that_holds_it(tmp_path):
    space, candidate = read_stand_alone(write(tmp_path, TEXT), Workload())
    assert space.candidate(candidate.as_dict()) == candidate
    assert candidate == read_candidate(tmp_path / "candidate.yml", SPACE)
    assert space.fixed["qkv"] == 512
    assert space_of_hat_yaml(tmp_path / "candidate.yml", Workload()).fingerprint == space.fingerprint


def test_a_stand_alone_file_with_impossible_heads_is_refused(tmp_path):
    with pytest.raises(SpaceError, match="3 heads do not divide the query-key-value width 512"):
        read_stand_alone(write(tmp_path, TEXT.replace("[8, 4, 4]", "[8, 3, 4]")), Workload())
