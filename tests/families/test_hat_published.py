"""The counting convention against HAT's published figures."""

import json
from pathlib import Path

import pytest

from hwnas.families.seq2seq.count import count
from hwnas.families.seq2seq.hat_yaml import read_stand_alone
from hwnas.workload import Workload

GOLDEN = Path(__file__).parents[1] / "golden" / "hat" / "published_models_wmt14ende.json"
MODELS = json.loads(GOLDEN.read_text(encoding="utf-8"))["models"]
KEYS = {
    "encoder_embed_dim": "encoder-embed-dim-subtransformer",
    "decoder_embed_dim": "decoder-embed-dim-subtransformer",
    "encoder_layers": "encoder-layer-num-subtransformer",
    "decoder_layers": "decoder-layer-num-subtransformer",
    "encoder_ffn_embed_dim": "encoder-ffn-embed-dim-all-subtransformer",
    "decoder_ffn_embed_dim": "decoder-ffn-embed-dim-all-subtransformer",
    "encoder_self_attention_heads": "encoder-self-attention-heads-all-subtransformer",
    "decoder_self_attention_heads": "decoder-self-attention-heads-all-subtransformer",
    "decoder_ende_attention_heads": "decoder-ende-attention-heads-all-subtransformer",
    "decoder_arbitrary_ende_attn": "decoder-arbitrary-ende-attn-all-subtransformer",
}


def hat_text(architecture: dict[str, object]) -> str:
    """HAT's own YAML of a published architecture."""
    return "".join(f"{KEYS[name]}: {value}\n" for name, value in architecture.items())


def counted(text: str, tmp_path: Path, tokens: int) -> tuple[float, float]:
    path = tmp_path / "model.yml"
    path.write_text(text, encoding="utf-8")
    workload = Workload(source_tokens=tokens, target_tokens=tokens)
    space, candidate = read_stand_alone(path, workload)
    counts = count(candidate, space.fixed["qkv"], workload, "hat")
    return counts.params / 1e6, 2 * counts.macs / 1e9


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["name"])
def test_published_figures_to_every_printed_digit(model: dict, tmp_path: Path) -> None:
    params_m, flops_g = counted(hat_text(model["architecture"]), tmp_path, tokens=30)
    assert f"{params_m:.2f}" == f"{model['params_m']:.2f}"
    assert f"{flops_g:.2f}" == f"{model['flops_g']:.2f}"


def test_all_published_models_are_here() -> None:
    assert len({model["name"] for model in MODELS}) == 17
