"""Decoding over the cache against full recomputation, and beam search against trying everything."""

import itertools

import pytest
import torch
from training.toy import FAMILY, SPACE

from hwnas.data.batching import padded_sources
from hwnas.data.task import BOS, EOS
from hwnas.decoding import MaxTokens, beam_search, greedy, next_logits
from hwnas.families import Vocabularies

SOURCES = [(4, 5, EOS), (7, EOS), (5, 5, 6, 4, EOS), (8, 4, EOS), (EOS,)]
LIMITS = MaxTokens(factor=1, plus=3, limit=7)


@pytest.fixture(scope="module", params=[0, 1, 2])
def model(request):
    """Untrained, with flat enough logits for the answers to differ, and to end now and then."""
    torch.manual_seed(request.param)
    built = FAMILY.model(SPACE, SPACE.extreme(-1), Vocabularies(9, 6)).eval()
    with torch.no_grad():
        built.target_embedding.weight.mul_(2.0)
    return built


@torch.no_grad()
def recomputed(model, source, most):
    """Greedy decoding with the whole teacher-forced model at every step."""
    ids = [BOS]
    for _ in range(most):
        ids.append(int(model(padded_sources([source]), torch.tensor([ids]))[0, -1].argmax()))
        if ids[-1] == EOS:
            break
    return tuple(ids[1:])


@torch.no_grad()
def score(model, source, ids):
    """Sum of log-probabilities of an answer."""
    logits = model(padded_sources([source]), torch.tensor([(BOS, *ids[:-1])]))[0]
    return float(logits.log_softmax(dim=-1).gather(1, torch.tensor(ids)[:, None]).sum())


@pytest.mark.parametrize("batch_size", [1, 2, 256])
def test_greedy_equals_full_recomputation_in_any_batch(model, batch_size):
    answers = greedy(model, SOURCES, LIMITS, batch_size)
    assert answers == [recomputed(model, source, LIMITS.of(len(source))) for source in SOURCES]


def test_a_beam_of_one_is_greedy(model):
    assert beam_search(model, SOURCES, 1, LIMITS) == greedy(model, SOURCES, LIMITS)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_of_all_answers(model, length_penalty):
    most = MaxTokens(factor=0, plus=3, limit=3)
    others = [token for token in range(6) if token != EOS]
    answers = [
        (*prefix, last)
        for length in (1, 2, 3)
        for prefix in itertools.product(others, repeat=length - 1)
        for last in ([EOS] if length < 3 else range(6))
    ]
    for source in SOURCES[:2]:
        best = max(answers, key=lambda ids: score(model, source, ids) / len(ids) ** length_penalty)
        found = beam_search(model, [source], 200, most, length_penalty=length_penalty)
        assert found == [best]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_beams_do_not_depend_on_the_batch(model, batch_size):
    assert beam_search(model, SOURCES, 4, LIMITS, batch_size=batch_size) == beam_search(model, SOURCES, 4, LIMITS)


def test_answers_end_once_and_keep_to_their_own_limit(model):
    for answers in (greedy(model, SOURCES, LIMITS), beam_search(model, SOURCES, 3, LIMITS)):
        for source, ids in zip(SOURCES, answers, strict=True):
            assert 1 <= len(ids) <= LIMITS.of(len(source))
            assert EOS not in ids[:-1]
            assert ids[-1] == EOS or len(ids) == LIMITS.of(len(source))


@torch.no_grad()
def test_next_logits_are_the_teacher_forced_ones(model):
    prefix = (3, 4)
    full = model(padded_sources([SOURCES[0]]), torch.tensor([(BOS, *prefix)]))
    torch.testing.assert_close(next_logits(model, SOURCES[0], prefix), full[0, -1], rtol=1e-4, atol=1e-5)


def test_decoding_leaves_the_mode_as_it_was(model):
    model.train()
    greedy(model, SOURCES[:1], LIMITS)
    assert model.training
    model.eval()
    greedy(model, SOURCES[:1], LIMITS)
    assert not model.training


def test_nothing_to_decode(model):
    assert greedy(model, []) == beam_search(model, [], 2) == []


def test_limits():
    assert MaxTokens().of(9) == 28
    assert MaxTokens().of(200) == 128
