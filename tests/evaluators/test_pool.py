"""Losses from other processes: equal to those of this one, in order, whatever dies."""

import os
import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from evaluators.losses_to_pool import Dying, Hanging, length, refusing
from training.toy import FAMILY, SPACE, toy_task

from hwnas.errors import HwnasError, SearchError
from hwnas.evaluators.inherited import InheritedLoss
from hwnas.evaluators.pool import DEATHS, LocalPool, StoredLoss, losses_from
from hwnas.families.base import Vocabularies
from hwnas.space import Candidate
from hwnas.supernet import SuperTransformer

RNG = random.Random(0)
CANDIDATES = tuple(dict.fromkeys(SPACE.sample(RNG) for _ in range(12)))
LENGTHS = [length(candidate) for candidate in CANDIDATES]


def toy_loss() -> InheritedLoss:
    torch.manual_seed(0)
    task = toy_task()
    vocabularies = Vocabularies(len(task.source_vocabulary), len(task.target_vocabulary))
    return InheritedLoss(SuperTransformer(FAMILY, SPACE, vocabularies).eval(), FAMILY, task.pairs["valid"])


def test_the_losses_do_not_depend_on_the_number_of_workers() -> None:
    loss_of = toy_loss()
    here = [loss_of(candidate) for candidate in CANDIDATES]
    assert len(set(here)) > 1
    with LocalPool(loss_of, workers=2) as pool:
        assert list(pool(CANDIDATES)) == here
        assert list(pool(CANDIDATES[3:5])) == here[3:5], "the same workers serve every population"
        assert list(pool(())) == []


def test_any_executor_keeps_the_order(tmp_path: Path) -> None:
    stored = StoredLoss.store(length, tmp_path / "loss")
    with ThreadPoolExecutor(3) as executor:
        assert list(losses_from(executor, stored, CANDIDATES)) == LENGTHS
        with pytest.raises(HwnasError, match=f"no loss for {CANDIDATES[0].key}"):
            list(losses_from(executor, refusing, CANDIDATES))


def test_each_loss_is_told_before_the_next_is_known() -> None:
    told = threading.Event()

    def waiting(candidate: Candidate) -> float:
        assert candidate == CANDIDATES[0] or told.wait(60)
        return length(candidate)

    with ThreadPoolExecutor(2) as executor:
        losses = losses_from(executor, waiting, CANDIDATES)
        assert next(losses) == LENGTHS[0]
        told.set()
        assert list(losses) == LENGTHS[1:]


def test_what_a_dead_worker_had_is_done_again(tmp_path: Path) -> None:
    said: list[str] = []
    with LocalPool(Dying(tmp_path, DEATHS - 1), workers=2, say=said.append) as pool:
        assert list(pool(CANDIDATES)) == LENGTHS
    assert 1 <= len(said) <= DEATHS - 1  # two may die at once
    assert all("a worker process died" in line and "\n" not in line for line in said)


def test_workers_that_always_die_end_the_search(tmp_path: Path) -> None:
    with (
        LocalPool(Dying(tmp_path, 1000), workers=1) as pool,
        pytest.raises(SearchError, match=rf"died {DEATHS} times in a row \(the next candidate is {CANDIDATES[0].key}"),
    ):
        list(pool(CANDIDATES))


def test_an_error_in_a_worker_comes_through() -> None:
    with LocalPool(refusing, workers=1) as pool, pytest.raises(HwnasError, match=f"no loss for {CANDIDATES[0].key}"):
        list(pool(CANDIDATES))


def test_no_workers_are_refused() -> None:
    with pytest.raises(SearchError, match="0 workers: at least 1 is needed"):
        LocalPool(length, 0)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "alive"
    os.mkfifo(path)
    return path


def started(reading: int, workers: int) -> None:
    while workers:
        workers -= len(os.read(reading, workers))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(fifo: Path, how: signal.Signals) -> None:
    script = [sys.executable, str(Path(__file__).with_name("losses_to_pool.py")), str(fifo)]
    search_path = os.pathsep.join(sys.path)
    parent = subprocess.Popen(
        script, env={**os.environ, "PYTHONPATH": search_path}, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    reading = os.open(fifo, os.O_RDONLY)
    try:
        started(reading, workers=2)
        if how == signal.SIGINT:
            os.killpg(parent.pid, how)  # as a terminal does: everyone gets it
        else:
            parent.send_signal(how)
        assert os.read(reading, 1) == b"", "a worker still holds it open"
        _, told = parent.communicate()
    finally:
        os.close(reading)
        parent.kill()
    assert parent.returncode == -how
    assert told.count("Traceback") == (how == signal.SIGINT), "a worker told of Ctrl-C too"


def test_leaving_early_ends_workers_in_the_middle_of_what_they_do(fifo: Path) -> None:
    with LocalPool(Hanging(fifo, but=CANDIDATES[0]), workers=2) as pool:
        losses = pool(CANDIDATES[:2])
        assert next(losses) == LENGTHS[0]
        alive = fifo.open("rb")
        assert alive.read(1) == b"x"
    with alive:
        assert alive.read(1) == b"", "a worker still holds it open"
