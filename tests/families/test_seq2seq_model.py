"""The seq2seq model, its operators and graphs: the same numbers, however they are computed."""

import random

import pytest
import torch

from hwnas.data.task import BOS, EOS, PAD, Batch
from hwnas.errors import SpaceError
from hwnas.families import Vocabularies, get_family
from hwnas.families.seq2seq.count import count
from hwnas.families.seq2seq.graphs import cache_names, memory_names
from hwnas.families.seq2seq.modules import sinusoids
from hwnas.space import SearchSpace
from hwnas.spaces import load_space
from hwnas.workload import Workload
from latency_luts import OperatorSpec

FAMILY = get_family("seq2seq")
VOCABULARIES = Vocabularies(source=9, target=7)
CHOICES = {
    "encoder_embed": [8, 16],
    "encoder_layers": [2, 3],
    "encoder_ffn": [8, 12],
    "encoder_heads": [1, 2],
    "decoder_embed": [8, 12],
    "decoder_layers": [1, 2, 3],
    "decoder_ffn": [8, 12],
    "decoder_self_heads": [1, 2],
    "decoder_cross_heads": [2, 4],
    "decoder_attended": [1, 2],
}
SIZES = {"beam": 3, "source_tokens": 5, "target_tokens": 4, "vocabulary": 7}
SPACE: SearchSpace = FAMILY.space(
    {
        "name": "tiny",
        "family": "seq2seq",
        "workload": SIZES,
        "choices": CHOICES,
        "fixed": {"qkv": 16, "positions": 32},
    }
)
CANDIDATES = [SPACE.extreme(0), SPACE.extreme(-1), *(SPACE.sample(random.Random(seed)) for seed in range(4))]


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def model_of(candidate, seed=0):
    torch.manual_seed(seed)
    return FAMILY.model(SPACE, candidate, VOCABULARIES).eval()


def ids(vocabulary, *shape, seed=0):
    return torch.randint(3, vocabulary, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda c: c.key)
def test_full_parameters_are_those_of_the_model(candidate):
    model = model_of(candidate)
    counted = count(candidate, SPACE.fixed["qkv"], SPACE.workload, "full", VOCABULARIES)
    assert counted.params == sum(parameter.numel() for parameter in model.parameters())


def test_full_work_is_more_than_hats():
    args = (SPACE, CANDIDATES[1], SPACE.workload)
    assert FAMILY.count(*args, "full").macs > FAMILY.count(*args, "hat").macs


def test_products_counted_are_the_products_done():
    """The matrix products of one real forward pass, by torch's own counter."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    candidate, workload = CANDIDATES[1], Workload(**SIZES)
    model = model_of(candidate)
    source, target = ids(9, 1, workload.source_tokens), ids(7, 1, workload.target_tokens)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(source, target)
    embed, decoder, qkv = candidate["encoder_embed"], candidate["decoder_embed"], SPACE.fixed["qkv"]
    layers, decoders = candidate["encoder_layers"], candidate["decoder_layers"]
    elementwise = 5 * embed + 4 * decoder + layers * 5 * (qkv + 2 * embed) + decoders * 4 * (2 * qkv + 3 * decoder)
    output = 4 * decoder * VOCABULARIES.target
    products = count(candidate, qkv, workload, "hat").macs - elementwise + output
    assert counter.get_total_flops() == 2 * products


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda c: c.key)
@torch.no_grad()
def test_the_cached_loop_gives_the_teacher_forced_logits(candidate):
    model = model_of(candidate)
    source, target = ids(9, 4, 6), ids(7, 4, 5)
    source[1, 4:] = PAD
    source[3, 1:] = PAD
    full = model(source, target)
    memory, caches = model.encode(source), model.empty_caches(4)
    for position in range(5):
        logits, caches = model.step(target[:, position], torch.tensor([position]), memory, caches, 1)
        close(logits, full[:, position])
        assert caches[0][0].shape[2] == position + 1


@torch.no_grad()
def test_padding_changes_nothing():
    model = model_of(CANDIDATES[1])
    source, target = ids(9, 1, 4), ids(7, 1, 3)
    padded = torch.cat([source, torch.full((1, 5), PAD)], dim=1)
    close(model(padded, target), model(source, target))


@torch.no_grad()
def test_no_position_sees_a_later_one():
    model = model_of(CANDIDATES[1])
    source, target = ids(9, 1, 4), ids(7, 1, 5)
    other = target.clone()
    other[0, 3] = (other[0, 3] - 3 + 1) % 4 + 3
    before, after = model(source, target), model(source, other)
    close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


@torch.no_grad()
def test_beams_share_their_sentence_as_separate_rows_would():
    model = model_of(CANDIDATES[2])
    source, beam = ids(9, 2, 6), 3
    repeated = source.repeat_interleave(beam, dim=0)
    shared, separate = model.encode(source), model.encode(repeated)
    one, other = model.empty_caches(6), model.empty_caches(6)
    for position in range(4):
        tokens = ids(7, 6, seed=position)
        where = torch.tensor([position])
        logits, one = model.step(tokens, where, shared, one, beam)
        wanted, other = model.step(tokens, where, separate, other, 1)
        close(logits, wanted)


@torch.no_grad()
def test_attending_to_more_layers_means_longer_keys_the_last_layer_first():
    values = SPACE.extreme(0).as_dict() | {"decoder_attended.0": 2}
    one, two = model_of(SPACE.extreme(0)), model_of(SPACE.candidate(values))
    two.load_state_dict(one.state_dict())
    source = ids(9, 2, 5)
    short, long = one.encode(source), two.encode(source)
    assert long.keys[0].shape[2] == 10
    close(long.keys[0][:, :, :5], short.keys[0])
    assert not torch.allclose(long.keys[0][:, :, 5:], short.keys[0])
    assert long.masks[2].shape == (2, 1, 1, 10)


def test_loss_and_logits_of_the_family_leave_padding_out():
    model = model_of(CANDIDATES[1])
    source = torch.tensor([[4, 5, EOS], [6, EOS, PAD]])
    target = torch.tensor([[BOS, 4, 5, EOS], [BOS, 6, EOS, PAD]])
    loss, tokens = FAMILY.loss(model, Batch(source, target), 0.0)
    assert tokens == 5
    each = [
        FAMILY.loss(model, Batch(source[:1], target[:1]), 0.0)[0],
        FAMILY.loss(model, Batch(source[1:, :2], target[1:, :3]), 0.0)[0],
    ]
    close(loss, sum(each))
    log_probabilities = FAMILY.logits(model, Batch(source, target)).log_softmax(dim=-1)
    assert log_probabilities.shape == (2, 3, 7)
    close(each[0], -sum(log_probabilities[0, i, token] for i, token in enumerate([4, 5, EOS])))
    smoothed, _ = FAMILY.loss(model, Batch(source[:1], target[:1]), 0.3)
    close(smoothed, 0.7 * each[0] - 0.3 * log_probabilities[0].mean(dim=-1).sum())


OPERATORS = sorted({term.operator for term in FAMILY.terms(SPACE, SPACE.workload)})


@pytest.mark.parametrize("kind", sorted({operator.kind for operator in OPERATORS}))
@torch.no_grad()
def test_operators_have_their_inputs_and_outputs_and_are_seeded(kind):
    for operator in (o for o in OPERATORS if o.kind == kind):
        (module, inputs), (again, same) = FAMILY.module(operator), FAMILY.module(operator)
        outputs = module.eval()(*inputs.tensors.values())
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        assert len(outputs) == len(inputs.outputs)
        repeated = again.eval()(*same.tensors.values())
        repeated = repeated if isinstance(repeated, tuple) else (repeated,)
        assert all(torch.equal(a, b) for a, b in zip(outputs, repeated, strict=True))
        assert all(output.isfinite().all() for output in outputs)


def test_building_an_operator_leaves_the_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    FAMILY.module(OPERATORS[0])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("text", ["pooling[embed=4,precision=fp32]", "decoder_ffn[embed=4,precision=fp32]"])
def test_operators_of_another_family_are_refused(text):
    with pytest.raises(SpaceError, match=text.split("[", maxsplit=1)[0]):
        FAMILY.module(OperatorSpec.parse(text))


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda c: c.key)
@torch.no_grad()
def test_operators_chained_by_hand_are_the_graphs(candidate):
    """What the table sums is what the graphs do: nothing is left out, nothing is done twice."""
    model, workload = model_of(candidate), SPACE.workload
    graphs = FAMILY.graphs(model, workload)
    source = graphs.graphs["encoder"][1].tensors["source"]

    hidden, mask = model.source_embedding(source)
    outputs = []
    for attention, ffn in zip(model.encoder_attention, model.encoder_ffn, strict=True):
        hidden = ffn(attention(hidden, mask))
        outputs.insert(0, hidden)
    memory = {}
    for layer, (projection, attended) in enumerate(zip(model.cross_projection, model.attended, strict=True)):
        key, value = projection(workload.source_tokens, *outputs[:attended])
        memory |= {f"cross_key_{layer}": key, f"cross_value_{layer}": value}
        memory[f"cross_mask_{attended}"] = mask.repeat(1, 1, 1, attended)
    encoder, inputs = graphs.graphs["encoder"]
    for name, output in zip(inputs.outputs, encoder(source), strict=True):
        close(output, memory[name])

    step, inputs = graphs.graphs["decoder_step"]
    tensors = dict(inputs.tensors)
    hidden = model.target_embedding(tensors["tokens"], tensors["position"])
    expected = {}
    for layer, attended in enumerate(model.attended):
        hidden, key, value = model.self_attention[layer](
            hidden, tensors[f"self_key_{layer}"], tensors[f"self_value_{layer}"]
        )
        expected |= {f"next_self_key_{layer}": key, f"next_self_value_{layer}": value}
        hidden = model.cross_attention[layer](
            hidden,
            tensors[f"cross_key_{layer}"],
            tensors[f"cross_value_{layer}"],
            tensors[f"cross_mask_{attended}"],
            workload.beam,
        )
        hidden = model.decoder_ffn[layer](hidden)
    expected["logits"] = model.output(hidden)
    for name, output in zip(inputs.outputs, step(*tensors.values()), strict=True):
        close(output, expected[name])


@torch.no_grad()
def test_stages_wire_the_graphs_into_the_decoding_loop():
    model = model_of(CANDIDATES[3])
    graphs = FAMILY.graphs(model, SPACE.workload)
    encoder, decoder = graphs.stages
    assert (encoder.repeat, decoder.repeat) == (1, SPACE.workload.target_tokens)
    produced = graphs.graphs[encoder.graph][1].outputs
    assert set(decoder.feeds.values()) == {f"encoder.{name}" for name in produced}
    assert produced == memory_names(model)
    inputs = graphs.graphs[decoder.graph][1]
    given = {*decoder.feeds, *decoder.carry, decoder.counter}
    assert set(inputs.tensors) == given | {"tokens"}
    assert set(decoder.carry) == set(decoder.initial) == set(cache_names(model))
    assert set(decoder.carry.values()) == set(inputs.outputs) - {"logits"}
    assert all(shape[2] == 0 for shape in decoder.initial.values())
    assert all(name in inputs.tensors for name in inputs.dynamic)


def test_graphs_of_something_else_are_refused():
    with pytest.raises(SpaceError, match="Linear is not a model of the seq2seq family"):
        FAMILY.graphs(torch.nn.Linear(1, 1), SPACE.workload)


def test_positions_of_a_narrower_model_are_the_wider_ones_leading_columns():
    narrow, wide = model_of(SPACE.extreme(0)), model_of(SPACE.extreme(-1))
    table = wide.source_embedding.positions
    assert torch.equal(narrow.source_embedding.positions, table[:, :8])
    assert torch.equal(table, sinusoids(32, 16))
    assert len({tuple(row) for row in table[:, :8].tolist()}) == 32


def test_importing_the_family_and_counting_needs_no_torch():
    import subprocess
    import sys

    code = (
        "import sys; from hwnas.families import get_family; from hwnas.spaces import load_space;"
        "s = load_space('g2p'); f = get_family(s.family); f.terms(s, s.workload);"
        "f.count(s, s.extreme(0), s.workload, 'hat'); f.peak_memory_bytes(s, s.extreme(0), s.workload);"
        "sys.exit('torch' in sys.modules or 'onnx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_spaces_that_ship_build_their_extremes():
    space = load_space("g2p")
    for which in (0, -1):
        model = FAMILY.model(space, space.extreme(which), Vocabularies(33, 43))
        assert model(ids(33, 1, 4), ids(43, 1, 3)).shape == (1, 3, 43)
