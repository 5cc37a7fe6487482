"""Validation loss and the task's metric."""

import pytest
import torch
from training.toy import FAMILY, SPACE, toy_task

from hwnas.data.batching import fixed_batches
from hwnas.errors import DataError
from hwnas.evaluation import quality_of, translate, validation_loss
from hwnas.families import Vocabularies

TASK = toy_task()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return FAMILY.model(SPACE, SPACE.extreme(-1), Vocabularies(9, 9))


def test_the_loss_is_the_mean_over_all_target_tokens(model):
    pairs = TASK.pairs["valid"]
    model.eval()
    with torch.no_grad():
        total = sum(float(FAMILY.loss(model, batch, 0.0)[0]) for batch in fixed_batches(pairs, 1))
    wanted = total / sum(len(pair.target) for pair in pairs)
    for batch_size in (1, 7, 1000):
        assert validation_loss(model, FAMILY, pairs, batch_size) == pytest.approx(wanted, rel=1e-5)
    assert validation_loss(model, FAMILY, pairs) == validation_loss(model, FAMILY, pairs)


def test_dropout_is_off_and_the_mode_is_restored(model):
    from hwnas.supernet import set_dropout

    set_dropout(model, 0.5)
    model.train()
    pairs = TASK.pairs["valid"]
    assert validation_loss(model, FAMILY, pairs) == validation_loss(model, FAMILY, pairs)
    assert model.training


def test_no_pairs(model):
    with pytest.raises(DataError, match="no pairs"):
        validation_loss(model, FAMILY, ())


def test_quality_is_the_loss_and_the_tasks_metric(model):
    quality = quality_of(model, FAMILY, TASK, "test", sources=5)
    assert set(quality) == {"loss", "per", "wer"}
    assert quality["loss"] == validation_loss(model, FAMILY, TASK.pairs["test"])
    assert quality["wer"] == 1.0


def test_quality_of_a_translation_keeps_the_signature(model):
    from dataclasses import replace

    quality = quality_of(model, FAMILY, replace(TASK, metric="bleu"), "test", sources=5)
    assert set(quality) == {"loss", "bleu", "signature"}
    assert "version" in quality["signature"]


def test_a_model_that_answers_right_has_no_errors(model, monkeypatch):
    """The whole way from text to rates, with decoding replaced by the truth."""
    answers = {word: some[0] for word, some in TASK.references["test"].items()}

    def truth(_model, sources, _limits):
        words = [TASK.source_vocabulary.decode(ids) for ids in sources]
        return [TASK.target_vocabulary.encode(answers[word]) for word in words]

    monkeypatch.setattr("hwnas.evaluation.greedy", truth)
    quality = quality_of(model, FAMILY, TASK, "test")
    assert (quality["per"], quality["wer"]) == (0.0, 0.0)


@pytest.mark.parametrize("beam", [1, 3])
def test_texts_are_answered_in_their_order(model, beam):
    words = list(TASK.references["test"])[:6]
    together = translate(model, TASK, words, beam)
    assert together == [translate(model, TASK, [word], beam)[0] for word in words]
    assert together[::-1] == translate(model, TASK, words[::-1], beam)
