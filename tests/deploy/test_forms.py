"""Bundles of one model in several formats and precisions, each proven, and the fastest that keeps its quality."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hwnas.decoding import MaxTokens, greedy
from hwnas.deploy.calibration import on_real_data
from hwnas.deploy.forms import Form, forms, keeps, make, refuse_places
from hwnas.deploy.graphs import BundleError, open_graph
from hwnas.deploy.verify import open_bundle
from hwnas.errors import DeployError
from hwnas.families.base import Vocabularies
from hwnas.families.deployed import as_deployed
from profiler import DeviceBusyError, LocalDevice, SessionError
from profiler.exporting import format_of
from tests.contracts.toolchains import need
from tests.deploy.without import run_without
from tests.training.toy import FAMILY, SPACE

HERE = LocalDevice(name="here", kind="local")
WORKLOAD = replace(SPACE.workload, source_tokens=6, target_tokens=24)


def names(*asked: object) -> list[str]:
    return [form.name for form in forms(HERE, *asked)]


def test_what_all_and_best_ask_for() -> None:
    assert names(None, "fp32") == ["onnx"]
    assert names("all", "fp32") == ["onnx", "tflite", "tvm"]
    assert names("onnx", "all") == ["onnx", "onnx-fp16", "onnx-int8", "onnx-int8-dynamic"]
    assert {"tflite-int8", "onnx-int8"} <= set(names("best", "int8"))
    assert [form.device.runtime for form in forms(HERE, "all", "fp32")] == ["onnxruntime", "litert", "tvm"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [(("zip", "fp32"), "no format 'zip'; known: onnx, tflite, tvm, all, best"), (("onnx", "int3"), "precision 'int3'")],
)
def test_what_there_is_not(asked, message: str) -> None:
    with pytest.raises(DeployError, match=message):
        forms(HERE, *asked)


def manifest(ms: float, per: float | None = None) -> dict:
    change = None if per is None else {"by_pytorch": {"per": 0.1}, "by_bundle": {"per": per}}
    return {"proof": {"measured_ms": ms}, "quality_change": change}


def test_what_torch_runs_is_profiled_and_not_bundled() -> None:
    device = HERE.model_copy(update={"runtime": "torch"})
    with pytest.raises(DeployError, match="here runs torch, of which no bundles are made; give --format: onnx, tflite"):
        forms(device, None, "fp32")
    assert [form.device.runtime for form in forms(device, "onnx", "fp32")] == ["onnxruntime"]
    with pytest.raises(DeployError, match="here is a GPU, and bundles run on processors"):
        forms(device.model_copy(update={"provider": "cuda"}), "onnx", "fp32")


def test_the_best_is_the_fastest_that_keeps_its_quality(tmp_path: Path) -> None:
    given = {"onnx": manifest(3.0), "onnx-int8": manifest(1.0, 0.2), "onnx-fp16": manifest(2.0, 0.105)}

    def build(form: Form, place: Path) -> dict:
        if form.name not in given:
            raise SessionError("no runtime")
        place.mkdir(parents=True)
        (place / form.name).write_text("graph")
        return given[form.name]

    wanted = forms(HERE, "onnx", "all")
    made = make(wanted, tmp_path / "all", build, best=False)
    assert made.best == "onnx-fp16"
    assert made.failed == {"onnx-int8-dynamic": "no runtime"}
    assert (tmp_path / "all" / "onnx-int8" / "onnx-int8").is_file()
    assert make(wanted, tmp_path / "best", build, best=True).best == "onnx-fp16"
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["onnx-fp16"]
    assert keeps({"quality_change": {"by_pytorch": {"bleu": 30.0}, "by_bundle": {"bleu": 29.6}}})
    assert not keeps({"quality_change": {"by_pytorch": {"bleu": 30.0}, "by_bundle": {"bleu": 29.0}}})


def test_a_device_that_is_busy_ends_it_all(tmp_path: Path) -> None:
    def build(form: Form, place: Path) -> dict:
        raise DeviceBusyError("another")

    with pytest.raises(DeviceBusyError):
        make(forms(HERE, "onnx", "all"), tmp_path, build, best=False)


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out" / "onnx").mkdir(parents=True)
    (tmp_path / "out" / "onnx" / "mine").write_text("")
    with pytest.raises(DeployError, match="exists and is no bundle"):
        refuse_places(forms(HERE, "onnx", "all"), tmp_path / "out", best=False)


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
@pytest.mark.parametrize("beam", [1, 3])
def test_ranges_are_taken_from_answers_to_training_inputs(model, task, runtime: str, beam: int) -> None:
    workload = replace(WORKLOAD, beam=beam)
    graphs = as_deployed(FAMILY, runtime).graphs(model, workload)
    found = on_real_data(graphs, task, workload, MaxTokens())
    known = {pair.source for pair in task.pairs["train"]}
    _, encoder = found.graphs.graphs["encoder"]
    _, decoder = found.graphs.graphs["decoder_step"]
    assert found.sentences == len(encoder.representative) > 20
    for sample in (encoder.tensors, *encoder.representative):
        assert tuple(int(token) for token in sample["source"][0] if token) in known
    for name, (module, inputs) in found.graphs.graphs.items():
        assert {key: t.shape for key, t in inputs.tensors.items()} == {
            key: t.shape for key, t in graphs.graphs[name][1].tensors.items()
        }
        with torch.inference_mode():
            assert len(module(*inputs.tensors.values())) == len(inputs.outputs)
    assert any(sample["position"].item() > 0 for sample in decoder.representative)


@pytest.mark.parametrize("runtime", ["onnxruntime", pytest.param("tvm", marks=pytest.mark.slow)])
@pytest.mark.parametrize("precision", ["int8", "int8-dynamic", "fp16"])
def test_another_precision_tells_what_it_costs(export, tmp_path: Path, task, runtime: str, precision: str) -> None:
    if runtime == "tvm":
        need("tvm")
    device = HERE.model_copy(update={"runtime": runtime})
    manifest = export(tmp_path / "bundle", device=device, precision=precision)
    assert (manifest["format"], manifest["precision"]) == (format_of(runtime), precision)
    change = manifest["quality_change"]
    assert (change["split"], change["inputs"]) == ("test", 25)
    assert change["calibrated_on"] > 20
    assert set(change["by_pytorch"]) == set(change["by_bundle"]) == {"per", "wer"}
    if precision == "fp16":
        assert keeps(manifest)
    for name, before in change["by_pytorch"].items():  # 25 short words of a model that has hardly learnt: one is 4 %
        assert abs(change["by_bundle"][name] - before) <= 0.25
    decoding = manifest["proof"]["decoding"]
    assert decoding["equal"] + decoding["near_ties"] + decoding["different"] == 25
    with closing(open_bundle(tmp_path / "bundle")) as bundle:
        assert [bundle(text) for text in manifest["examples"]] == list(manifest["examples"].values())


def test_a_batch_has_no_bundle_of_fixed_shapes(export, tmp_path: Path) -> None:
    litert = HERE.model_copy(update={"runtime": "litert"})
    with pytest.raises(DeployError, match="one input at a time, not 2"):
        export(tmp_path / "bundle", device=litert, workload=replace(WORKLOAD, batch=2))


def test_a_format_no_runner_knows(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="format 'pt2'; this runner knows onnx, tflite, tvm"):
        open_graph(tmp_path / "x.pt2", "pt2", 1, ["x"], ["y"])


@pytest.mark.parametrize(
    ("form", "message"), [("tvm", "hwnas toolchain install tvm"), ("tflite", "pip install ai-edge-litert")]
)
def test_a_runtime_that_is_not_here_is_named(monkeypatch, tmp_path: Path, form: str, message: str) -> None:
    for package in ("tvm_ffi", "ai_edge_litert", "ai_edge_litert.interpreter", "tflite_runtime"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BundleError, match=message):
        open_graph(tmp_path / "x", form, 1, ["x"], ["y"])


@pytest.mark.slow
@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize(("runtime", "toolchain"), [("litert", "litert-torch"), ("tvm", "tvm")])
def test_a_bundle_of_fixed_shapes_answers_as_pytorch(
    export, tmp_path: Path, model, task, runtime: str, toolchain: str, beam: int
) -> None:
    need(toolchain)
    device = HERE.model_copy(update={"runtime": runtime})
    manifest = export(tmp_path / "bundle", device=device, beam=beam, workload=replace(WORKLOAD, beam=beam))
    assert manifest["format"] == {"litert": "tflite", "tvm": "tvm"}[runtime]
    decoding = manifest["proof"]["decoding"]
    assert (decoding["inputs"], decoding["different"]) == (25, 0)
    texts = [text for text in task.references["test"] if len(text) <= 5][:5]
    answers = [manifest["examples"].get(text) for text in texts]
    with closing(open_bundle(tmp_path / "bundle")) as bundle:
        found = [bundle(text) for text in texts]
        assert all(answer in (None, given) for answer, given in zip(answers, found, strict=True))
        if beam == 1:
            wanted = greedy(model, [task.source_vocabulary.encode(text) for text in texts])
            assert found == [task.target_vocabulary.decode(ids) for ids in wanted]
        with pytest.raises(BundleError, match="has 8 tokens; this model takes at most 6"):
            bundle("abcdeab")
    command = [sys.executable, "-m", "hwnas", "run", str(tmp_path / "bundle"), *texts]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == found
    if runtime == "litert":
        alone = run_without(("torch", "hwnas", "onnxruntime"), tmp_path / "bundle", texts, cwd=tmp_path)
        assert (alone.returncode, alone.stdout.split("\n")[:-1]) == (0, found)


@pytest.mark.slow
def test_an_answer_that_does_not_fit_is_refused(export, tmp_path: Path, task) -> None:
    need("litert-torch")
    torch.manual_seed(3)
    untrained = FAMILY.model(SPACE, SPACE.extreme(-1), Vocabularies(9, 9)).eval()
    device = HERE.model_copy(update={"runtime": "litert"})
    export(tmp_path / "bundle", device=device, model=untrained, workload=replace(WORKLOAD, target_tokens=2, cache=1))
    with (
        closing(open_bundle(tmp_path / "bundle")) as bundle,
        pytest.raises(BundleError, match="longer than the 2 tokens"),
    ):
        for text in task.references["test"]:
            bundle(text)
