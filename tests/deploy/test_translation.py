"""Translation from text files to a bundle that answers with a beam, where only numpy and onnxruntime are."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hwnas.cli.commands import app
from hwnas.data import load_task
from hwnas.data.parallel import ParallelFiles, ParallelSettings, prepare_parallel
from hwnas.data.task import Split, Task
from hwnas.deploy.runner import Bundle
from hwnas.evaluation import translate
from hwnas.families import get_family
from hwnas.spaces import load_space
from hwnas.training import FinetuneSettings, finetune, load_supernet
from tests.deploy.without import run_without

SPACE = """\
name: little
family: seq2seq
workload: {batch: 1, beam: 3, source_tokens: 8, target_tokens: 8, vocabulary: 60}
choices:
  encoder_embed: [16, 32]
  encoder_layers: [2]
  encoder_ffn: [32, 64]
  encoder_heads: [2]
  decoder_embed: [16, 32]
  decoder_layers: [1, 2]
  decoder_ffn: [32, 64]
  decoder_self_heads: [2]
  decoder_cross_heads: [2, 4]
  decoder_attended: [1, 2]
fixed: {qkv: 32, positions: 128}
"""


def corpus(folder: Path) -> dict[Split, ParallelFiles]:
    """A toy language: the target says the source's words backwards, in capitals."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdeho", k=rng.randint(2, 5))) for _ in range(40)]
    files: dict[Split, ParallelFiles] = {}
    sizes: dict[Split, int] = {"train": 400, "valid": 20, "test": 40}
    for split, count in sizes.items():
        lines = [rng.choices(words, k=rng.randint(1, 6)) for _ in range(count)]
        source, target = folder / f"{split}.src", folder / f"{split}.tgt"
        source.write_text("".join(f"{' '.join(line)}\n" for line in lines), encoding="utf-8")
        target.write_text("".join(f"{' '.join(reversed(line)).upper()}\n" for line in lines), encoding="utf-8")
        files[split] = ParallelFiles(source, target)
    return files


def hwnas(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@dataclass(frozen=True)
class Chain:
    """What a user has after training: a space, a task, a SuperTransformer, and two candidates."""

    folder: Path
    task: Task

    def export(self, candidate: int) -> Result:
        return hwnas(
            "export", self.folder / f"candidate{candidate}.yml", "--space", self.folder / "little.yaml",
            "--supernet", self.folder / "supernet.pt", "--data", self.folder / "data", "--out", self.bundle,
            "--finetune-updates", 10, "--json",
        )  # fmt: skip

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "bundle.finetuned.pt"

    @property
    def manifest(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.bundle / "manifest.json").read_text(encoding="utf-8"))
        return content


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    pytest.importorskip("sentencepiece", reason="the extra `text` is not installed")
    folder = tmp_path_factory.mktemp("translation")
    space, data = folder / "little.yaml", folder / "data"
    space.write_text(SPACE)
    task = prepare_parallel(corpus(folder), data, ParallelSettings(vocabulary_size=60))
    steps = [
        (
            "train",
            "--space",
            space,
            "--data",
            data,
            "--updates",
            200,
            "--lr",
            5e-3,
            "--warmup",
            20,
            "--out",
            folder / "supernet.pt",
        )
    ]
    steps += [("space", "sample", space, "--seed", seed, "--out", folder / f"candidate{seed}.yml") for seed in (0, 1)]
    for step in steps:
        done = hwnas(*step)
        assert done.exit_code == 0, done.stderr
    made = Chain(folder, task)
    exported = made.export(0)
    assert exported.exit_code == 0, exported.stderr
    assert json.loads(exported.stdout) == made.manifest
    return made


@pytest.mark.slow
def test_the_bundle_is_proven_with_the_beam_of_the_workload(chain: Chain) -> None:
    manifest, decoding = chain.manifest, chain.manifest["proof"]["decoding"]
    assert manifest["decoding"] == {"beam": 3, "length_penalty": 1.0}
    assert manifest["workload"]["vocabulary"] == len(chain.task.target_vocabulary)
    assert (manifest["limit_ms"], manifest["predicted_ms"]) == (None, None)
    assert (decoding["inputs"], decoding["beam"], decoding["different"]) == (len(chain.task.references["test"]), 3, 0)
    assert manifest["quality"]["decoder"] == "beam of 3"
    assert manifest["quality"]["bleu"] >= 0
    assert "tok:" in manifest["quality"]["signature"]


@pytest.mark.slow
def test_it_answers_as_pytorch_does_where_only_numpy_and_onnxruntime_are(chain: Chain, tmp_path: Path) -> None:
    space = load_space(chain.folder / "little.yaml")
    family = get_family(space.family)
    before = chain.checkpoint.read_bytes()
    shared = load_supernet(chain.folder / "supernet.pt", space, family, load_task(chain.folder / "data"))
    extracted = shared.extract(space.candidate(chain.manifest["architecture"]))
    model = finetune(extracted, family, chain.task, FinetuneSettings(updates=10), chain.checkpoint)
    assert chain.checkpoint.read_bytes() == before, "the finished fine-tuning was not used"

    texts = list(chain.task.references["test"])[:12]
    own = run_without(["hwnas", "torch", "sentencepiece", "sacrebleu"], chain.bundle, texts, cwd=tmp_path)
    assert (own.returncode, own.stderr) == (0, "")
    assert own.stdout.splitlines() == translate(model, chain.task, texts, beam=3)
    assert len(set(own.stdout.splitlines())) > 3
    ran = hwnas("run", chain.bundle, *texts)
    assert (ran.exit_code, ran.stdout) == (0, own.stdout)


@pytest.mark.slow
def test_odd_lines_get_one_line_each(chain: Chain, tmp_path: Path) -> None:
    first, second, *_ = chain.task.references["test"]
    lines = f"{first}\n\n{second} ☃\n{'abc ' * 130}\n".encode()
    own = run_without(["hwnas", "torch", "sentencepiece"], chain.bundle, [], cwd=tmp_path, given=lines)
    bundle = Bundle(chain.bundle)
    assert own.returncode == 3
    assert own.stdout.splitlines() == [bundle(first), bundle(f"{second} ☃")]
    empty, odd, long = own.stderr.splitlines()
    assert empty == "hwnas_run: '': the input is empty"
    assert odd == f"hwnas_run: '{second} ☃': '☃' is unknown to this model and was read as <unk>"
    assert long.startswith("hwnas_run: 'abc abc ")
    assert long.endswith(" tokens; this model takes at most 128")


@pytest.mark.slow
def test_a_finished_fine_tuning_is_used_again_but_not_for_another_candidate(chain: Chain) -> None:
    before, manifest = chain.checkpoint.read_bytes(), chain.manifest
    again = chain.export(0)
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["quality"] == manifest["quality"]
    assert json.loads(again.stdout)["files"]["encoder.onnx"] == manifest["files"]["encoder.onnx"]
    assert chain.checkpoint.read_bytes() == before

    files = {path.name: path.read_bytes() for path in chain.bundle.iterdir() if path.is_file()}
    other = chain.export(1)
    told = other.stderr.splitlines()[-1]
    assert other.exit_code == 1
    assert f"{chain.checkpoint} belongs to another run: start is" in told
    assert told.endswith("remove this one to start anew")
    assert {path.name: path.read_bytes() for path in chain.bundle.iterdir() if path.is_file()} == files
