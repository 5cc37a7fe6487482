"""The precision of every block of a seq2seq candidate: its choices, operators, graphs, and the loss it costs."""

import itertools
import random
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import SpaceError
from hwnas.families import get_family
from hwnas.families.base import MixedPrecision, Vocabularies
from hwnas.families.deployed import Deployed, as_deployed
from hwnas.families.seq2seq.features import FeaturesOfGenes
from hwnas.families.seq2seq.precision import BLOCKS, precisions_of
from hwnas.latency import decompose, operators_of
from hwnas.space import Candidate
from hwnas.spaces import load_space

FAMILY = get_family("seq2seq")
PLAIN, MIXED = load_space("g2p"), load_space("g2p_mixed")
VOCABULARIES = Vocabularies(43, 43)
SEEDS = st.integers(0, 2**32)


def without_precisions(candidate: Candidate) -> Candidate:
    return PLAIN.candidate({name: value for name, value in candidate.entries if "_bits" not in name})


def quantised(blocks: Collection[str]) -> Candidate:
    """The largest candidate with just these blocks in int8-dynamic."""
    largest = MIXED.extreme(-1).as_dict()
    return MIXED.candidate(largest | {name: 8 for name in largest if name.partition(".")[0] in blocks})


def test_spaces_without_precisions_are_what_they_were() -> None:
    assert PLAIN.fingerprint == "97a49ac6a800d175"  # that of tables and checkpoints there are
    assert not PLAIN.mixed
    assert PLAIN.in_fp32 is PLAIN
    assert (MIXED.mixed, MIXED.in_fp32.mixed) == (True, False)
    assert MIXED.in_fp32.fingerprint == PLAIN.fingerprint != MIXED.fingerprint
    assert (
        replace(MIXED, choices=tuple(replace(c, precisions=()) for c in MIXED.choices)).fingerprint != MIXED.fingerprint
    )


@given(SEEDS)
@settings(max_examples=50, deadline=None)
def test_a_candidate_pays_what_it_paid_in_the_precisions_of_its_blocks(seed: int) -> None:
    candidate = MIXED.sample(random.Random(seed))
    assert MIXED.decode(MIXED.encode(candidate)) == candidate
    paid = decompose(MIXED, FAMILY, MIXED.workload, candidate)
    plain: Counter[object] = Counter()
    for operator, count in paid.items():
        plain[replace(operator, precision="fp32")] += count
    assert plain == decompose(PLAIN, FAMILY, PLAIN.workload, without_precisions(candidate))
    assert not any(o.precision != "fp32" for o in paid if "embedding" in o.kind)


def test_operators_are_those_of_the_plain_space_twice_but_for_embeddings() -> None:
    operators = operators_of(MIXED, FAMILY, MIXED.workload)
    assert tuple(o for o in operators if o.precision == "fp32") == operators_of(PLAIN, FAMILY, PLAIN.workload)
    dynamic = {replace(o, precision="fp32") for o in operators if o.precision == "int8-dynamic"}
    assert dynamic == {o for o in operators_of(PLAIN, FAMILY, PLAIN.workload) if "embedding" not in o.kind}


def test_only_onnx_runtime_mixes() -> None:
    for runtime, precision in (("litert", "fp32"), ("tvm", "fp32"), ("onnxruntime", "int8")):
        family = as_deployed(FAMILY, runtime, precision)
        assert isinstance(family, Deployed)
        with pytest.raises(
            SpaceError, match="'g2p_mixed' chooses precisions itself: mixed precision is for ONNX Runtime"
        ):
            family.terms(MIXED, MIXED.workload)
        model = FAMILY.model(MIXED, quantised(["output_bits"]), VOCABULARIES)
        with pytest.raises(SpaceError, match="precisions of its own: mixed precision is for ONNX Runtime"):
            family.graphs(model, MIXED.workload)


def test_what_would_be_blind_to_precision_refuses() -> None:
    with pytest.raises(SpaceError, match="'g2p_mixed' chooses precisions, which HAT's features do not tell"):
        FeaturesOfGenes(MIXED)
    torch = pytest.importorskip("torch", reason="makes the model")
    from hwnas.families.base import Mixture

    mixtures = {c.name: Mixture(c.values, torch.ones(len(c.values)) / len(c.values)) for c in MIXED.choices}
    with pytest.raises(SpaceError, match="gradients would be blind"):
        FAMILY.soft(FAMILY.model(MIXED, MIXED.extreme(-1), VOCABULARIES), mixtures)


@pytest.mark.parametrize(
    "blocks", [*((block,) for block in BLOCKS), ("encoder_ffn_bits", "output_bits"), tuple(BLOCKS)], ids="+".join
)
def test_a_graph_has_the_products_of_its_blocks_quantised_and_no_other_node_changed(
    blocks: tuple[str, ...], tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx", reason="reads what was exported")
    torch = pytest.importorskip("torch", reason="makes the model")
    from exporters.onnx import OnnxExporter

    torch.manual_seed(1)
    candidate = quantised(blocks)
    model = FAMILY.model(MIXED, candidate, VOCABULARIES)
    plain = FAMILY.model(MIXED, MIXED.extreme(-1), VOCABULARIES)
    plain.load_state_dict(model.state_dict())
    scopes = tuple(f"/{module}/" for module in precisions_of(MIXED, candidate))
    found = 0
    for name, (module, inputs) in FAMILY.graphs(model, MIXED.workload).graphs.items():
        artifact = OnnxExporter().export(module, inputs, tmp_path / f"{name}.onnx")
        exact = OnnxExporter().export(
            *FAMILY.graphs(plain, MIXED.workload).graphs[name], tmp_path / f"{name}-fp32.onnx"
        )
        assert artifact.precision == ("fp32+int8-dynamic" if inputs.precisions else "fp32")
        nodes, before = ({node.name: node for node in onnx.load(a.path).graph.node} for a in (artifact, exact))
        assert exact.precision == "fp32"
        integer = {
            name.removesuffix("_MatMul_quant") for name, node in nodes.items() if node.op_type == "MatMulInteger"
        }
        assert integer == {n for n, node in before.items() if node.op_type == "Gemm" and n.startswith(scopes)}
        kept = {n for n, node in before.items() if n not in integer and node.op_type in ("Gemm", "MatMul", "Gather")}
        assert all(nodes[n].SerializeToString() == before[n].SerializeToString() for n in kept)
        sources = {node.output[0]: node for node in nodes.values() if node.op_type == "DynamicQuantizeLinear"}
        readers = {node.input[0] for node in nodes.values() if node.op_type == "MatMulInteger"}
        assert set(sources) == readers  # whatever is quantised is what a product of a block reads
        found += len(integer)
    assert found == sum(2 if not s.startswith(("/cross_projection", "/output")) else 1 for s in scopes)


def test_the_loss_of_a_candidate_is_that_of_its_graphs(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="makes the model")
    ort = pytest.importorskip("onnxruntime", reason="runs what was exported")
    from exporters.onnx import OnnxExporter
    from hwnas.families.seq2seq.graphs import cache_names, memory_names

    assert isinstance(FAMILY, MixedPrecision)
    torch.manual_seed(2)
    candidate = quantised(BLOCKS)
    model = FAMILY.model(MIXED, candidate, VOCABULARIES).eval()
    sessions = {
        name: ort.InferenceSession(OnnxExporter().export(*graph, tmp_path / f"{name}.onnx").path)
        for name, graph in FAMILY.graphs(model, MIXED.workload).graphs.items()
    }
    source, target = (
        torch.tensor([[5, 9, 17, 6, 0, 0], [8, 30, 31, 32, 33, 7]]),
        torch.tensor([[1, 9, 12], [1, 20, 21]]),
    )
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.inference_mode():
        exact = model(source, target)
        with FAMILY.in_its_precisions(model):
            simulated = model(source, target).numpy()
        again = model(source, target)
    assert torch.equal(again, exact)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    encoder, decoder = sessions["encoder"], sessions["decoder_step"]
    for row, length in enumerate((4, 6)):
        encoded = encoder.run(None, {"source": source[row : row + 1, :length].numpy()})
        memory = dict(zip(memory_names(model), encoded, strict=True))
        empty = (cache.numpy() for cache in itertools.chain.from_iterable(model.empty_caches(1)))
        caches = dict(zip(cache_names(model), empty, strict=True))
        for position in range(3):
            step = {"tokens": target[row, position : position + 1].numpy(), "position": np.array([position])}
            logits, *after = decoder.run(None, step | memory | caches)
            caches = dict(zip(caches, after, strict=True))
            error = np.abs(logits[0] - simulated[row, position]).max()
            lost = np.abs(logits[0] - exact[row, position].numpy()).max()
            assert error < 1e-5
            assert lost > 1e-3


@pytest.mark.parametrize("attended", [1, 2])
def test_quantising_is_within_products_in_graphs_as_they_run(attended: int, tmp_path: Path) -> None:
    """What a table counts where: no node at a border, but for memory that several layers' keys and values share."""
    onnx = pytest.importorskip("onnx", reason="reads what is run")
    torch = pytest.importorskip("torch", reason="makes the model")
    ort = pytest.importorskip("onnxruntime", reason="optimises the graphs")
    from exporters.onnx import OnnxExporter

    torch.manual_seed(3)
    values = quantised(set(BLOCKS) - {"encoder_ffn_bits", "decoder_self_bits"}).as_dict()
    values |= {name: attended for name in values if name.startswith("decoder_attended")}
    model = FAMILY.model(MIXED, MIXED.candidate(values), VOCABULARIES)
    kinds = {}
    for name, (module, inputs) in FAMILY.graphs(model, MIXED.workload).graphs.items():
        artifact = OnnxExporter().export(module, inputs, tmp_path / f"{name}.onnx")
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.optimized_model_filepath = str(tmp_path / f"{name}.run.onnx")
        ort.InferenceSession(artifact.path, options, providers=["CPUExecutionProvider"])
        kinds[name] = Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
    layers = values["decoder_layers"]
    assert kinds["encoder"]["DynamicQuantizeMatMul"] == 2 * values["encoder_layers"]
    assert kinds["encoder"]["MatMulIntegerToFloat"] == layers
    assert kinds["encoder"]["DynamicQuantizeLinear"] == 1
    assert kinds["decoder_step"]["DynamicQuantizeMatMul"] == 4 * layers + 1
    assert kinds["decoder_step"]["DynamicQuantizeLinear"] == 0


def test_a_search_scores_candidates_in_their_precisions() -> None:
    torch = pytest.importorskip("torch", reason="makes the SuperTransformer")
    from hwnas.data.task import Pair
    from hwnas.evaluators.inherited import InheritedLoss, PairLosses
    from hwnas.supernet import SuperTransformer

    torch.manual_seed(4)
    supernet = SuperTransformer(FAMILY, MIXED, VOCABULARIES).eval()
    draw = random.Random(4)
    symbols = [[draw.randrange(4, 43) for _ in range(draw.randint(2, 8))] for _ in range(20)]
    pairs = [Pair(tuple(source), tuple(target)) for source, target in itertools.pairwise(symbols)]
    whole, each = InheritedLoss(supernet, FAMILY, pairs), PairLosses(supernet, FAMILY, pairs)
    exact, lossy = quantised(()), quantised(BLOCKS)
    plain = InheritedLoss(SuperTransformer(FAMILY, PLAIN, VOCABULARIES).eval(), FAMILY, pairs)
    plain.supernet.load_state_dict(supernet.state_dict())
    before = [whole(exact), whole(lossy)]
    assert before[0] == plain(without_precisions(lossy)) != before[1]
    assert before[1] == pytest.approx(before[0], rel=0.05)
    assert [whole(exact), whole(lossy)] == before  # shared weights are what they were
    losses = each(lossy)
    assert float(losses.sum()) / sum(len(pair.target) for pair in pairs) == pytest.approx(before[1], rel=1e-4)
