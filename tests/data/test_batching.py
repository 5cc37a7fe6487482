"""Batches: every pair once an epoch, any update on its own, padding on the right."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.data.batching import batch_of_update, fixed_batches, padded_sources, updates_per_epoch
from hwnas.data.task import BOS, EOS, PAD, Pair
from hwnas.errors import DataError

rows = st.lists(st.integers(3, 40), max_size=9).map(lambda ids: (*ids, EOS))
many_pairs = st.lists(st.builds(Pair, rows, rows), min_size=1, max_size=60).map(tuple)


def unpadded(batch):
    """The pairs of a batch; fails where padding is not on the right or BOS is missing."""
    pairs = []
    for source, target in zip(batch.source.tolist(), batch.target.tolist(), strict=True):
        assert target[0] == BOS
        source_end, target_end = source.index(EOS) + 1, target.index(EOS) + 1
        assert set(source[source_end:]) <= {PAD}
        assert set(target[target_end:]) <= {PAD}
        pairs.append(Pair(tuple(source[:source_end]), tuple(target[1:target_end])))
    return pairs


def key(pair):
    return (pair.source, pair.target)


@settings(max_examples=40, deadline=None)
@given(many_pairs, st.integers(1, 20), st.integers(0, 3), st.integers(0, 2))
def test_an_epoch_visits_every_pair_once(pairs, batch_size, seed, epoch):
    per_epoch = updates_per_epoch(pairs, batch_size)
    seen = []
    for update in range(epoch * per_epoch, (epoch + 1) * per_epoch):
        batch = batch_of_update(pairs, batch_size, seed, update)
        assert batch.source.shape[0] == batch.target.shape[0] <= batch_size
        seen += unpadded(batch)
    assert sorted(seen, key=key) == sorted(pairs, key=key)


@settings(max_examples=30, deadline=None)
@given(many_pairs, st.integers(1, 20))
def test_fixed_batches_hold_everything_shortest_first_without_waste(pairs, batch_size):
    batches = list(fixed_batches(pairs, batch_size))
    seen = [pair for batch in batches for pair in unpadded(batch)]
    assert sorted(seen, key=key) == sorted(pairs, key=key)
    lengths = [(len(pair.source), len(pair.target)) for pair in seen]
    assert lengths == sorted(lengths)
    for batch in batches:
        assert batch.source.shape[1] == max(len(pair.source) for pair in unpadded(batch))


def test_an_update_does_not_depend_on_those_asked_before():
    pairs = tuple(Pair((4 + i % 7, EOS), (5 + i % 5,) * (i % 6) + (EOS,)) for i in range(300))
    forward = [batch_of_update(pairs, 16, 7, update) for update in range(45)]
    for update in reversed(range(45)):
        again = batch_of_update(pairs[:1] + pairs[1:], 16, 7, update)
        assert again.source.equal(forward[update].source)
        assert again.target.equal(forward[update].target)


def test_seeds_and_epochs_shuffle_differently():
    pairs = tuple(Pair((4 + i, EOS), (4 + i, EOS)) for i in range(64))
    first = batch_of_update(pairs, 64, 0, 0).source
    assert not first.equal(batch_of_update(pairs, 64, 0, 1).source)
    assert not first.equal(batch_of_update(pairs, 64, 1, 0).source)


def test_batches_of_an_epoch_are_sorted_by_length_inside():
    rng = np.random.default_rng(0)
    pairs = tuple(Pair((4,) * int(n) + (EOS,), (4, EOS)) for n in rng.integers(1, 30, 2000))
    cells = pads = 0
    for update in range(updates_per_epoch(pairs, 32)):
        source = batch_of_update(pairs, 32, 0, update).source
        cells, pads = cells + source.numel(), pads + int((source == PAD).sum())
    assert pads < 0.05 * cells  # without windows about 45 %


def test_the_same_batch_in_another_process_with_another_hash_seed():
    program = (
        "from hwnas.data.batching import batch_of_update\n"
        "from hwnas.data.task import EOS, Pair\n"
        "pairs = tuple(Pair((4 + i % 9, EOS), (5,) * (i % 4) + (EOS,)) for i in range(200))\n"
        "print(batch_of_update(pairs, 8, 3, 30).source.tolist())\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_padded_sources():
    assert padded_sources([(4, EOS), (4, 5, 6, EOS)]).tolist() == [[4, EOS, PAD, PAD], [4, 5, 6, EOS]]


@pytest.mark.parametrize(
    ("pairs", "batch_size", "update", "message"),
    [
        ((), 4, 0, "no pairs"),
        ((Pair((EOS,), (EOS,)),), 0, 0, "batch size is 0"),
        ((Pair((EOS,), (EOS,)),), 4, -1, "update is -1"),
    ],
)
def test_bad_requests_are_named(pairs, batch_size, update, message):
    with pytest.raises(DataError, match=message):
        batch_of_update(pairs, batch_size, 0, update)
