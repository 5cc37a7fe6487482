"""The graphs of fixed shapes compute what the growing ones do."""

import pytest

torch = pytest.importorskip("torch", reason="runs the modules")

from hwnas.data.task import PAD  # noqa: E402
from hwnas.families import FixedShapes, Vocabularies, get_family  # noqa: E402
from hwnas.families.seq2seq.operators import build  # noqa: E402
from hwnas.spaces import load_space  # noqa: E402
from hwnas.workload import Workload  # noqa: E402
from latency_luts import OperatorSpec  # noqa: E402


@pytest.fixture(scope="module", params=[(1, 1), (2, 3)])
def graphs(request: pytest.FixtureRequest):
    """Growing and fixed graphs of one model, for a batch and a beam."""
    batch, beam = request.param
    space, family = load_space("g2p"), get_family("seq2seq")
    assert isinstance(family, FixedShapes)
    torch.manual_seed(0)
    model = family.model(space, space.extreme(-1), Vocabularies(29, 42)).eval()
    workload = Workload(batch=batch, beam=beam, source_tokens=7, target_tokens=6, vocabulary=42)
    return family.graphs(model, workload), family.fixed_graphs(model, workload), workload


def decode(graphs, source, tokens):
    """The loop as it is deployed: logits of every step, and the last caches."""
    encode, (step, inputs) = graphs.graphs["encoder"][0], graphs.graphs["decoder_step"]
    stage = graphs.stages[1]
    memory = dict(zip(graphs.graphs["encoder"][1].outputs, encode(source), strict=True))
    carried = {name: torch.zeros(stage.initial[name]) for name in stage.carry}
    logits = []
    for position, row in enumerate(tokens):
        given = {"tokens": row, "position": torch.tensor([position]), **memory, **carried}
        outputs = dict(zip(inputs.outputs, step(*(given[name] for name in inputs.tensors)), strict=True))
        carried = {name: outputs[output] for name, output in stage.carry.items()}
        logits.append(outputs["logits"])
    return torch.stack(logits), carried


@pytest.mark.parametrize("padding", [0, 3])
def test_they_decode_the_same(graphs, padding: int) -> None:
    growing, fixed, workload = graphs
    torch.manual_seed(1)
    source = torch.randint(4, 29, (workload.batch, workload.source_tokens))
    source[:, workload.source_tokens - padding :] = PAD
    tokens = torch.randint(4, 42, (workload.target_tokens, workload.batch * workload.beam))
    with torch.inference_mode():
        expected, grown = decode(growing, source, tokens)
        found, kept = decode(fixed, source, tokens)
    assert (expected - found).abs().max() < 1e-5
    for name, cache in grown.items():
        assert torch.allclose(cache, kept[name], atol=1e-6)


def test_every_shape_is_fixed_and_padding_is_represented(graphs) -> None:
    _, fixed, workload = graphs
    for _, inputs in fixed.graphs.values():
        assert not inputs.dynamic
        for sample in inputs.representative:
            assert {name: tensor.shape for name, tensor in sample.items()} == {
                name: tensor.shape for name, tensor in inputs.tensors.items()
            }
    source = fixed.graphs["encoder"][1]
    assert (source.representative[0]["source"] == PAD).any()
    assert not (source.tensors["source"] == PAD).any()
    step = fixed.graphs["decoder_step"][1]
    positions = sorted(int(sample["position"]) for sample in (step.tensors, *step.representative))
    assert positions == [0, workload.target_tokens // 2, workload.target_tokens - 1]
    assert step.tensors["self_key_0"].size(2) == workload.target_tokens


def test_only_the_operator_with_a_cache_is_another() -> None:
    sizes = "batch=1,beam=2,cache=5,embed=16,heads=2,qkv=8,precision=fp32"
    module, inputs = build(OperatorSpec.parse(f"decoder_self_attention[{sizes}]"), fixed=True)
    growing, _ = build(OperatorSpec.parse(f"decoder_self_attention[{sizes}]"))
    growing.load_state_dict({key.removeprefix("attention."): value for key, value in module.state_dict().items()})
    given = dict(inputs.tensors)
    written = 2
    past = [given[name][:, :, :written] for name in ("past_key", "past_value")]
    with torch.inference_mode():
        output, key, value = module(*given.values())
        expected, grown_key, grown_value = growing(given["hidden"], *past)
    assert torch.allclose(output, expected, atol=1e-6)
    for kept, grown in ((key, grown_key), (value, grown_value)):
        assert torch.allclose(kept[:, :, : written + 1], grown, atol=1e-6)
        assert not kept[:, :, written + 1 :].any()
    ffn = OperatorSpec.parse("encoder_ffn[batch=1,embed=16,ffn=8,tokens=3,precision=fp32]")
    (one, first), (other, second) = build(ffn), build(ffn, fixed=True)
    assert type(one) is type(other)
    assert torch.equal(first.tensors["hidden"], second.tensors["hidden"])
