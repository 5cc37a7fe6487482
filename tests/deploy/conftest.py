"""A model that answers its toy task, and its bundles: one decoded greedily, one with a beam of three."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hwnas.data.task import Task
from hwnas.deploy import measured
from hwnas.deploy.bundle import Promise
from hwnas.deploy.export import export_bundle
from hwnas.families.base import Vocabularies
from hwnas.space import Candidate
from hwnas.training import TrainingSettings, train_model
from profiler import LocalDevice
from tests.training.toy import FAMILY, SPACE, toy_task

HERE = LocalDevice(name="here", kind="local")
CANDIDATE = SPACE.extreme(-1)

Export = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def task() -> Task:
    return toy_task()


@pytest.fixture(scope="session")
def candidate() -> Candidate:
    return CANDIDATE


@pytest.fixture(scope="session")
def model(task: Task, tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    torch.manual_seed(0)
    fresh = FAMILY.model(SPACE, CANDIDATE, Vocabularies(len(task.source_vocabulary), len(task.target_vocabulary)))
    settings = TrainingSettings(updates=60, batch_size=32, learning_rate=5e-3, warmup=10)
    return train_model(fresh, FAMILY, task, settings, tmp_path_factory.mktemp("model") / "model.pt")


@pytest.fixture(scope="session")
def export(model: nn.Module, task: Task) -> Iterator[Export]:
    """Export the model to a folder, with what is to be different from the usual."""
    patch = pytest.MonkeyPatch()
    patch.setattr(measured, "ROUNDS", 2)  # how precise the latency is, no test here asks

    def run(out: Path, *, beam: int = 1, promise: Promise | None = None, **changes: Any) -> dict[str, Any]:
        workload = replace(SPACE.workload, beam=beam)
        device = changes.pop("device", HERE)
        return export_bundle(
            SPACE, FAMILY, CANDIDATE, changes.pop("model", model), changes.pop("task", task),
            changes.pop("workload", workload), device, promise or Promise(), out, decoded=25, **changes,
        )  # fmt: skip

    yield run
    patch.undo()


@pytest.fixture(scope="session")
def greedy_bundle(export: Export, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("greedy") / "bundle"
    export(folder, promise=Promise(5.0, 1.0, "here/onnxruntime-1/threads=1/wall"))
    return folder


@pytest.fixture(scope="session")
def beam_bundle(export: Export, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beam") / "bundle"
    export(folder, beam=3)
    return folder
