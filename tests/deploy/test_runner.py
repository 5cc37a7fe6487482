"""The runner decodes as PyTorch does, refuses what it cannot trust, and needs nothing of hwnas."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.decoding import MaxTokens
from hwnas.decoding import beam_search as torch_beam_search
from hwnas.decoding import greedy as torch_greedy
from hwnas.deploy import runner
from hwnas.deploy.runner import Bundle, BundleError
from tests.deploy.markov import Markov, step_of
from tests.deploy.without import run_without


@given(
    seed=st.integers(0, 10_000),
    beam=st.integers(1, 6),
    most=st.integers(1, 9),
    penalty=st.sampled_from([0.0, 0.6, 1.0]),
)
def test_its_searches_are_those_of_hwnas(seed: int, beam: int, most: int, penalty: float) -> None:
    model, source = Markov(seed), (4, 5, 2)
    limits = MaxTokens(0, most, 64)
    (wanted,) = torch_beam_search(model, [source], beam, limits, length_penalty=penalty)
    assert runner.beam_search(step_of(model, source, beam), beam, most, penalty) == wanted
    (wanted,) = torch_greedy(model, [source], limits)
    assert runner.greedy(step_of(model, source, 1), most) == wanted


def test_the_first_of_equals_wins() -> None:
    def step(tokens, position, parents):  # type: ignore[no-untyped-def]
        logits = np.full((len(tokens), 6), -5.0, dtype=np.float32)
        logits[:, 2 if position else [4, 5]] = 1.0
        return logits

    assert runner.greedy(step, 3) == (4, 2)
    trace: list[runner.Ranking] = []
    assert runner.beam_search(step, 2, 3, trace=trace) == (4, 2)
    assert [ids for ids, _ in trace[0]] == [(4,), (5,), (0,), (1,)]


def test_the_beam_follows_its_parents_and_shares_the_encoder(beam_bundle, model, task) -> None:
    """The graph's own caches are reordered: the answers are those of the search in PyTorch."""
    bundle = Bundle(beam_bundle)
    assert bundle.beam == 3
    words = list(task.references["test"])
    rng = random.Random(1)
    words += ["".join(rng.choices("abcde", k=rng.randint(6, 12))) for _ in range(20)]  # longer than any it knows
    encoded = [task.source_vocabulary.encode(word) for word in words]
    expected = torch_beam_search(model, encoded, 3, MaxTokens(**bundle.manifest["max_tokens"]))
    assert [bundle.decode(ids) for ids in encoded] == expected
    assert [bundle(word) for word in words] == [task.target_vocabulary.decode(ids) for ids in expected]
    assert expected != torch_greedy(model, encoded), "the beam never mattered: this test shows nothing"


def test_a_greedy_bundle_decodes_greedily(greedy_bundle, model, task) -> None:
    encoded = [task.source_vocabulary.encode(word) for word in task.references["test"]]
    bundle = Bundle(greedy_bundle)
    assert [bundle.decode(ids) for ids in encoded] == torch_greedy(model, encoded)


def test_all_names_come_from_the_manifest(beam_bundle, tmp_path) -> None:
    """Graphs with other input and output names run, if the manifest says so."""
    import onnx

    folder = tmp_path / "renamed"
    shutil.copytree(beam_bundle, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for graph in ("encoder", "decoder_step"):
        path = folder / f"{graph}.onnx"
        content = onnx.load(path)
        tensors = [*content.graph.input, *content.graph.output]
        names = {tensor.name: f"my_{tensor.name}" for tensor in tensors}
        for tensor in tensors:
            tensor.name = names[tensor.name]
        for node in content.graph.node:
            for names_of_node in (node.input, node.output):
                names_of_node[:] = [names.get(name, name) for name in names_of_node]
        onnx.save(content, path)
        for side in ("inputs", "outputs"):
            for tensor in manifest["graphs"][graph][side]:
                tensor["name"] = names[tensor["name"]]
        manifest["files"][path.name]["sha256"] = runner.hashlib.sha256(path.read_bytes()).hexdigest()
    decoder = manifest["stages"][1]
    decoder["feeds"] = {f"my_{k}": v.replace(".", ".my_") for k, v in decoder["feeds"].items()}
    decoder["carry"] = {f"my_{k}": f"my_{v}" for k, v in decoder["carry"].items()}
    decoder["initial"] = {f"my_{k}": v for k, v in decoder["initial"].items()}
    decoder["counter"] = f"my_{decoder['counter']}"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert Bundle(folder)("abcde") == Bundle(beam_bundle)("abcde")


@pytest.mark.parametrize("name", ["encoder.onnx", "vocabulary.json", "hwnas_run.py", "decoder_step.onnx.npz"])
@pytest.mark.parametrize("how", ["gone", "changed"])
def test_a_file_that_is_not_the_exported_one_is_named(greedy_bundle, tmp_path, name, how) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(greedy_bundle, folder)
    if how == "gone":
        (folder / name).unlink()
    else:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(bytes(content))
    with pytest.raises(BundleError, match=rf"{name} is (missing|not the file that was exported); export it again$"):
        Bundle(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ("{}", "has bundle schema None; this runner reads schema 1"),
        ('{"schema": 2}', "has bundle schema 2"),
        ('{"schema": 1}', "is damaged"),
        ('{"schema": 1, "files": {"encoder.onnx": 7}}', "is damaged"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused_in_one_line(greedy_bundle, tmp_path, text, message) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(greedy_bundle, folder)
    (folder / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=message) as caught:
        Bundle(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_no_bundle_at_all(tmp_path) -> None:
    with pytest.raises(BundleError, match=r"is not a bundle: manifest\.json is missing"):
        Bundle(tmp_path)
    with pytest.raises(BundleError, match=r"is not a bundle: manifest\.json is missing"):
        Bundle(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the input is empty"),
        (" \t ", "the input is empty"),
        ("ab3d!3", "'3' '!' is not among the symbols this model knows: a b c d e"),
        ("a\nb", r"'\\n' is not among"),
        ("\udcff", r"'\\udcff' is not among"),
        ("a" * 128, "the input has 129 tokens; this model takes at most 128"),
    ],
)
def test_input_it_cannot_answer_is_refused_in_one_line(greedy_bundle, text, message) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        Bundle(greedy_bundle)(text)
    assert "\n" not in str(caught.value)


def test_the_longest_input_is_answered(beam_bundle) -> None:
    assert Bundle(beam_bundle)("a" * 127)


def test_it_runs_where_hwnas_and_torch_are_not(beam_bundle, tmp_path) -> None:
    done = run_without(["hwnas", "torch", "sentencepiece", "onnx"], beam_bundle, ["abc", "edcba"], cwd=tmp_path)
    bundle = Bundle(beam_bundle)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [bundle("abc"), bundle("edcba")]


def test_lines_of_standard_input(greedy_bundle, tmp_path) -> None:
    given = b"abc\r\n\nx\xff\ncba"
    done = run_without(["hwnas", "torch"], greedy_bundle, [], cwd=tmp_path, given=given)
    bundle = Bundle(greedy_bundle)
    assert done.returncode == 3
    assert done.stdout.splitlines() == [bundle("abc"), bundle("cba")]
    refusals = done.stderr.splitlines()
    assert refusals[0] == "hwnas_run: '': the input is empty"
    assert refusals[1].startswith(r"hwnas_run: 'x\udcff': 'x' '\udcff' is not among the symbols")
    assert len(refusals) == 2


def test_hwnas_run_gives_the_same_answers(beam_bundle, tmp_path) -> None:
    texts = ["abc", "b!", "ecda"]
    own = run_without(["hwnas", "torch"], beam_bundle, texts, cwd=tmp_path)
    hwnas = subprocess.run(
        [sys.executable, "-m", "hwnas", "run", str(beam_bundle), *texts],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (hwnas.returncode, hwnas.stdout) == (own.returncode, own.stdout) == (3, own.stdout)
    assert hwnas.stderr == own.stderr.replace("hwnas_run:", "hwnas:")


def test_a_changed_bundle_ends_the_runner_in_one_line(greedy_bundle, tmp_path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(greedy_bundle, folder)
    Path(folder / "encoder.onnx").write_bytes(b"")
    done = run_without(["hwnas", "torch"], folder, ["abc"], cwd=tmp_path)
    message = "encoder.onnx is not the file that was exported; export it again"
    assert (done.returncode, done.stderr) == (1, f"hwnas_run: {folder}: {message}\n")


class Knowing:
    """As much of a bundle as a note asks for: all letters but ``x`` and ``y`` are known."""

    def unread(self, text):
        return tuple(letter for letter in text if letter in "xy")


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("abc", None),
        ("ax", "'ax': 'x' is unknown to this model and was read as <unk>"),
        ("xay", "'xay': 'x' 'y' are unknown to this model and were read as <unk>"),
    ],
)
def test_what_a_model_could_not_read_is_told(text, note):
    assert runner.note_on(Knowing(), text) == note
