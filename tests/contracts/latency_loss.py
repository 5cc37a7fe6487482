"""What every LatencyLoss must do; subclass it and give a ``loss`` fixture."""

from __future__ import annotations

import pytest
import torch

from hwnas.errors import SearchError
from hwnas.losses.base import LatencyLoss


class LatencyLossContract:
    @pytest.fixture
    def loss(self) -> LatencyLoss:
        raise NotImplementedError

    @pytest.mark.parametrize("expected_ms", [0.2, 0.9, 1.1, 5.0])
    def test_neither_a_worse_task_nor_more_latency_is_rewarded(self, loss: LatencyLoss, expected_ms: float) -> None:
        task, latency = torch.tensor(2.0, requires_grad=True), torch.tensor(expected_ms, requires_grad=True)
        value = loss(task, latency)
        value.backward()
        assert value.shape == ()
        assert value.isfinite()
        assert task.grad is not None
        assert task.grad > 0
        assert latency.grad is None or latency.grad >= 0

    def test_it_is_smooth_in_latency_on_both_sides_of_one_millisecond(self, loss: LatencyLoss) -> None:
        task = torch.tensor(2.0, dtype=torch.float64)
        for at in (0.7, 1.4, 3.0):
            latency = torch.tensor(at, dtype=torch.float64, requires_grad=True)
            assert torch.autograd.gradcheck(loss, (task, latency))

    def test_a_batch_of_latencies_gives_a_batch(self, loss: LatencyLoss) -> None:
        latencies = torch.tensor([0.5, 1.5])
        singles = [loss(torch.tensor(2.0), latency) for latency in latencies]
        torch.testing.assert_close(loss(torch.tensor(2.0), latencies), torch.stack(singles))

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_task_loss_that_is_no_number_is_said_in_one_line(self, loss: LatencyLoss, value: float) -> None:
        with pytest.raises(SearchError, match=f"task loss became {value}; a lower learning rate") as caught:
            loss(torch.tensor(value), torch.tensor(1.0))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("value", [float("nan"), 0.0, -1.0])
    def test_a_latency_that_cannot_be_is_refused(self, loss: LatencyLoss, value: float) -> None:
        with pytest.raises(SearchError, match=f"expected latency became {value} ms"):
            loss(torch.tensor(1.0), torch.tensor(value))
