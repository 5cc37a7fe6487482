"""A space that chooses the precision of every block, from the command line: table, search, bundle, refusals."""

import pytest
import yaml
from cli.shell import EVOLUTION, SPACE

from hwnas.candidates import read_candidate
from hwnas.families import get_family
from hwnas.latency import TableLatency
from hwnas.search.journal import read_candidates
from hwnas.search.runs import JOURNAL
from hwnas.spaces import load_space
from latency_luts import DISPATCH, LatencyLut

FAMILY = get_family("seq2seq")

MIXED = SPACE.replace("name: tiny", "name: mixed").replace("fixed:", "  precisions: [fp32, int8-dynamic]\nfixed:")
PROFILE = ("profile", "--space", "mixed.yaml", "--samples", "2", "--calibration", "4", "--check", "2", "--rounds", "3")
OTHER = ("profile", "--space", "mixed.yaml", "--out", "x")
SEARCH = ("search", "--space", "mixed.yaml", "--supernet", "supernet.pt")
EXPORT = ("export", "all.yml", "--space", "mixed.yaml", "--supernet", "supernet.pt", "--out", "x")
TABLE = ("--table", "mixed.lut.jsonl")


@pytest.fixture(scope="module")
def mixed(chain):
    """The chain's folder with mixed.yaml, its table, and a search by the SuperTransformer of tiny.yaml."""
    (chain.folder / "mixed.yaml").write_text(MIXED)
    for command in (
        (*PROFILE, "--out", "mixed.lut.jsonl"),
        (*SEARCH, *TABLE, *EVOLUTION, "--out", "mixed", "--no-measure"),
    ):
        ran = chain(*command)
        assert ran.code == 0, ran.err
    return chain


def with_bits(mixed, name, quantised):
    """A candidate file like the winner, but only the blocks in ``quantised`` in int8-dynamic."""
    winner = yaml.safe_load((mixed.folder / "mixed" / "winner.yml").read_text())
    for choice in winner["choices"]:
        if "_bits" in choice:
            winner["choices"][choice] = 8 if choice in quantised else 32
    (mixed.folder / name).write_text(yaml.safe_dump(winner))
    return name


def table_of(mixed):
    return LatencyLut.load(mixed.folder / "mixed.lut.jsonl")


def test_a_table_has_every_operator_in_every_precision_it_can_be_in(mixed):
    operators = {str(operator) for operator in table_of(mixed).rows}
    dynamic = {operator for operator in operators if "precision=int8-dynamic" in operator}
    plain = {operator for operator in operators - dynamic if "embedding" not in operator and operator != str(DISPATCH)}
    assert {operator.replace("int8-dynamic", "fp32") for operator in dynamic} == plain


def test_a_search_tries_both_precisions_and_ends_with_a_candidate_that_can_be_predicted(mixed):
    space = load_space(mixed.folder / "mixed.yaml")
    evaluated = read_candidates(mixed.folder / "mixed" / JOURNAL, space)
    bits = {value for candidate in evaluated for name, value in candidate.entries if "_bits" in name}
    assert bits == {8, 32}
    winner = read_candidate(mixed.folder / "mixed" / "winner.yml", space)
    assert winner in evaluated
    (told,) = mixed("predict", "mixed/winner.yml", "--space", "mixed.yaml", *TABLE, "--json").json
    assert told["latency_ms"] == pytest.approx(TableLatency.from_lut(space, FAMILY, table_of(mixed)).of(winner))


def test_a_mixed_bundle_has_just_its_blocks_quantised_and_tells_what_that_costs(mixed):
    onnx = pytest.importorskip("onnx", reason="reads what was exported")
    quantised = ("encoder_ffn_bits.0", "decoder_cross_bits.0", "output_bits")
    file = with_bits(mixed, "some.yml", quantised)
    export = ("export", file, "--space", "mixed.yaml", "--supernet", "supernet.pt", *TABLE, "--decoded", "20")
    manifest = mixed(*export, "--out", "some", "--json").json
    assert manifest["precision"] == "fp32+int8-dynamic"
    assert manifest["predicted_ms"] > 0
    assert manifest["quality_change"]["inputs"] == manifest["proof"]["decoding"]["inputs"] > 5
    products = {}
    for graph in ("encoder", "decoder_step"):
        nodes = onnx.load(mixed.folder / "some" / f"{graph}.onnx").graph.node
        products |= {node.name: node.op_type for node in nodes if node.op_type in ("Gemm", "MatMulInteger")}
    scopes = ("/encoder_ffn.0/", "/cross_projection.0/", "/cross_attention.0/", "/output/")
    assert {kind for name, kind in products.items() if name.startswith(scopes)} == {"MatMulInteger"}
    assert {kind for name, kind in products.items() if not name.startswith(scopes)} == {"Gemm"}
    assert mixed("run", "some", "baba").code == 0


@pytest.mark.slow
def test_a_mixed_space_without_quantised_blocks_is_exact(mixed):
    file = with_bits(mixed, "none.yml", ())
    export = ("export", file, "--space", "mixed.yaml", "--supernet", "supernet.pt", "--decoded", "5")
    manifest = mixed(*export, "--out", "none", "--json").json
    assert (manifest["precision"], manifest["quality_change"]) == ("fp32", None)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ((*OTHER, "--precision", "int8"), "mixed precision is for ONNX Runtime"),
        ((*OTHER, "--runtime", "onnxruntime", "--precision", "int8"), "for ONNX Runtime, without --precision"),
        ((*SEARCH, *TABLE, "--method", "darts", "--out", "x"), "gradients would be blind"),
        (("space", "sample", "mixed.yaml", "--hat", "--out", "hat.yml"), "HAT's files know no precisions"),
        (("profile", "--space", "bad.yaml", "--out", "x"), "'int4' cannot be mixed; a block may be in fp32, int8-"),
        (("profile", "--space", "twice.yaml", "--out", "x"), "no or repeated values"),
        ((*EXPORT, "--format", "tflite"), "mixed precision is for ONNX Runtime"),
        ((*EXPORT, "--precision", "int8"), "mixed precision is for ONNX Runtime"),
    ],
)
def test_what_cannot_be_mixed_is_refused_in_a_line(mixed, command, words):
    (mixed.folder / "bad.yaml").write_text(MIXED.replace("[fp32, int8-dynamic]", "[fp32, int4]"))
    (mixed.folder / "twice.yaml").write_text(MIXED.replace("[fp32, int8-dynamic]", "[fp32, fp32]"))
    with_bits(mixed, "all.yml", ("output_bits", "encoder_ffn_bits.0"))
    assert words in mixed(*command).refusal
