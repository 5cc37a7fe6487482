"""Training: what an update does, and that an interrupted run ends like an undisturbed one."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training.toy import FAMILY, SPACE, toy_task

from hwnas.checkpoint import Checkpoint
from hwnas.errors import CheckpointError, HwnasError
from hwnas.evaluation import validation_loss
from hwnas.families import Vocabularies
from hwnas.training import (
    FinetuneSettings,
    TrainingSettings,
    finetune,
    load_supernet,
    train_model,
    train_supernet,
)

TASK = toy_task()
QUICK = TrainingSettings(updates=30, batch_size=16, warmup=5, dropout=0.1, checkpoint_every=7)


class StopError(Exception):
    """Ends a training from within, as Ctrl-C does."""


def stop_at(update):
    def progress(shown):
        if shown.update >= update:
            raise StopError

    return progress


def weights(path):
    return Checkpoint.load(path).model


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "settings",
    [QUICK, replace(QUICK, sandwich=True, distil=True, random_subnets=2, label_smoothing=0.1)],
    ids=["random", "sandwich"],
)
def test_an_interrupted_run_ends_bit_identical(tmp_path, settings):
    whole = train_supernet(SPACE, FAMILY, TASK, settings, tmp_path / "whole.pt")
    torch.manual_seed(99)  # whatever the generator was left at
    with pytest.raises(StopError):
        train_supernet(SPACE, FAMILY, TASK, settings, tmp_path / "cut.pt", stop_at(20))
    assert Checkpoint.load(tmp_path / "cut.pt").update == 14
    again = train_supernet(SPACE, FAMILY, TASK, settings, tmp_path / "cut.pt")
    assert_same(weights(tmp_path / "whole.pt"), weights(tmp_path / "cut.pt"))
    assert again.losses == whole.losses
    assert len(whole.losses) == 30


@pytest.mark.slow
def test_a_killed_run_ends_bit_identical(tmp_path):
    script, updates = Path(__file__).with_name("toy.py"), "200"
    run = [sys.executable, str(script), str(tmp_path / "killed.pt"), updates]
    environment = os.environ | {"PYTHONPATH": str(script.parents[2])}
    for _ in range(2):
        with subprocess.Popen(run, stdout=subprocess.PIPE, text=True, env=environment) as child:
            for _ in range(3):
                assert child.stdout.readline(), "the run ended before it could be killed"
            child.kill()
    assert 0 < Checkpoint.load(tmp_path / "killed.pt").update < 200
    subprocess.run(run, check=True, env=environment, stdout=subprocess.DEVNULL)
    run[2] = str(tmp_path / "whole.pt")
    subprocess.run(run, check=True, env=environment, stdout=subprocess.DEVNULL)
    assert_same(weights(tmp_path / "whole.pt"), weights(tmp_path / "killed.pt"))
    assert Checkpoint.load(tmp_path / "whole.pt").losses == Checkpoint.load(tmp_path / "killed.pt").losses


def test_a_finished_run_is_not_repeated(tmp_path):
    path = tmp_path / "s.pt"
    train_supernet(SPACE, FAMILY, TASK, QUICK, path)
    before = path.stat().st_mtime_ns
    train_supernet(SPACE, FAMILY, TASK, QUICK, path, stop_at(0))
    assert path.stat().st_mtime_ns == before


def test_training_leaves_the_callers_generator_alone(tmp_path):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    train_supernet(SPACE, FAMILY, TASK, replace(QUICK, updates=3), tmp_path / "s.pt")
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_learnt_is_the_task(tmp_path):
    settings = replace(QUICK, updates=250, dropout=0.0, learning_rate=5e-3, checkpoint_every=1000)
    shown = []
    trained = train_supernet(SPACE, FAMILY, TASK, settings, tmp_path / "s.pt", shown.append)
    assert trained.loss < 0.6 * trained.losses[0]
    assert trained.loss == shown[-1].loss
    assert (shown[-1].update, shown[-1].updates, shown[-1].seconds_left) == (250, 250, 0.0)
    assert all(p.tokens_per_s > 0 for p in shown)
    for which in (0, -1):
        with trained.supernet.active(SPACE.extreme(which)) as model:
            assert validation_loss(model, FAMILY, TASK.pairs["valid"]) < 0.8 * trained.losses[0]
    assert not trained.supernet.training

    loaded = load_supernet(tmp_path / "s.pt", SPACE, FAMILY, TASK)
    assert_same(loaded.state_dict(), trained.supernet.state_dict())
    assert not loaded.training

    candidate = SPACE.extreme(0)
    model = loaded.extract(candidate)
    before = validation_loss(model, FAMILY, TASK.pairs["valid"])
    tuned = finetune(model, FAMILY, TASK, FinetuneSettings(updates=60), tmp_path / "f.pt")
    assert validation_loss(tuned, FAMILY, TASK.pairs["valid"]) < before
    assert not tuned.training
    resumed = finetune(loaded.extract(candidate), FAMILY, TASK, FinetuneSettings(updates=60), tmp_path / "f.pt")
    assert_same(resumed.state_dict(), tuned.state_dict())
    other = loaded.extract(SPACE.extreme(-1))
    with pytest.raises(CheckpointError, match="belongs to another run: start is"):
        finetune(other, FAMILY, TASK, FinetuneSettings(updates=60), tmp_path / "f.pt")


def test_one_candidate_can_be_trained_from_scratch(tmp_path):
    torch.manual_seed(0)
    model = FAMILY.model(SPACE, SPACE.extreme(-1), Vocabularies(9, 9))
    before = validation_loss(model, FAMILY, TASK.pairs["valid"])
    train_model(model, FAMILY, TASK, replace(QUICK, updates=60), tmp_path / "m.pt")
    assert validation_loss(model, FAMILY, TASK.pairs["valid"]) < before
    with pytest.raises(HwnasError, match="sandwich is for SuperTransformers"):
        train_model(model, FAMILY, TASK, replace(QUICK, sandwich=True), tmp_path / "n.pt")


@pytest.mark.parametrize(
    ("changes", "task", "message"),
    [
        ({"seed": 1}, TASK, "seed is 0 there and 1 here"),
        ({"learning_rate": 0.1}, TASK, "learning_rate is 0.0015 there and 0.1 here"),
        ({"updates": 8}, TASK, "updates is 7 there and 8 here"),
        ({}, toy_task("toy-2"), "data is 'toy-1' there and 'toy-2' here"),
    ],
)
def test_a_checkpoint_of_other_settings_or_data_is_refused(tmp_path, changes, task, message):
    first = replace(QUICK, updates=7)
    train_supernet(SPACE, FAMILY, TASK, first, tmp_path / "s.pt")
    with pytest.raises(CheckpointError, match=message):
        train_supernet(SPACE, FAMILY, task, replace(first, **changes), tmp_path / "s.pt")


def test_checkpointing_more_often_is_the_same_run(tmp_path):
    train_supernet(SPACE, FAMILY, TASK, replace(QUICK, updates=7), tmp_path / "s.pt")
    train_supernet(SPACE, FAMILY, TASK, replace(QUICK, updates=7, checkpoint_every=2), tmp_path / "s.pt", stop_at(0))


def test_an_unfinished_or_foreign_supernet_is_not_loaded(tmp_path):
    with pytest.raises(StopError):
        train_supernet(SPACE, FAMILY, TASK, QUICK, tmp_path / "s.pt", stop_at(20))
    with pytest.raises(CheckpointError, match="is at update 14 of 30; run the training again"):
        load_supernet(tmp_path / "s.pt", SPACE, FAMILY, TASK)
    with pytest.raises(CheckpointError, match="data is 'toy-1' there and 'toy-2' here"):
        load_supernet(tmp_path / "s.pt", SPACE, FAMILY, toy_task("toy-2"))
    other = replace(SPACE, fixed={"qkv": 16, "positions": 64})
    with pytest.raises(CheckpointError, match=r"space is '[0-9a-f]+' there"):
        load_supernet(tmp_path / "s.pt", other, FAMILY, TASK)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    with pytest.raises(HwnasError, match=r"the loss is nan at update \d+; try a lower learning rate"):
        train_supernet(SPACE, FAMILY, TASK, replace(QUICK, learning_rate=1e38), tmp_path / "s.pt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"updates": 0}, "updates is 0"),
        ({"schedule": "steps"}, "unknown schedule 'steps'; known: constant, cosine"),
        ({"distil": True}, "distil .* needs sandwich"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(HwnasError, match=message):
        TrainingSettings(**changes)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear", "inverse_sqrt"])
def test_learning_rates_rise_to_the_peak_and_fall(schedule):
    settings = TrainingSettings(updates=1000, warmup=100, learning_rate=2.0, schedule=schedule)
    rates = [settings.rate(update) for update in range(1000)]
    assert rates[0] == pytest.approx(0.02)
    assert max(rates) == pytest.approx(2.0, rel=0.01)
    assert rates[:100] == sorted(rates[:100])
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert all(rate > 0 for rate in rates)
    last = {"constant": 0.01, "cosine": 0.0, "linear": 0.01 * 2 / 9, "inverse_sqrt": 2.0 * 0.1**0.5}
    assert rates[-1] == pytest.approx(last[schedule], abs=0.001)


def test_the_constant_schedule_is_constant_until_the_last_fifth():
    settings = TrainingSettings(updates=1000, warmup=100, learning_rate=2.0)
    assert {settings.rate(update) for update in range(100, 800)} == {2.0}
    assert settings.rate(900) == pytest.approx(1.0)


def test_no_warm_up_and_one_update():
    assert TrainingSettings(updates=1, warmup=0, learning_rate=2.0).rate(0) == 2.0
