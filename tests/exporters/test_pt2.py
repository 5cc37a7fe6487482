"""The exporter to programs of ``torch.export``."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="exporting is what torch is for")

from contracts.exporter import ExporterContract  # noqa: E402
from torch import nn  # noqa: E402

from exporters import GraphInputs  # noqa: E402
from exporters.pt2 import Pt2Exporter  # noqa: E402


class TestPt2(ExporterContract):
    static = True

    @pytest.fixture
    def exporter(self) -> Pt2Exporter:
        return Pt2Exporter()


class Tied(nn.Module):
    """Looks rows up in a table and multiplies by the same, or by another weight."""

    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(20, 8), nn.Linear(8, 20, bias=False)
        if tied:
            self.out.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(self.table(ids))


@pytest.mark.parametrize("tied", [True, False])
def test_a_table_of_which_rows_are_looked_up_is_not_streamed(tmp_path: Path, tied: bool) -> None:
    inputs = GraphInputs({"ids": torch.tensor([1, 2])}, ("y",))
    artifact = Pt2Exporter().export(Tied(tied=tied), inputs, tmp_path / "a.pt2")
    assert artifact.streamed_bytes == 20 * 8 * 4


def test_nothing_of_where_it_was_made_is_in_the_file(tmp_path: Path) -> None:
    artifact = Pt2Exporter().export(
        Tied(tied=True), GraphInputs({"ids": torch.tensor([1])}, ("y",)), tmp_path / "a.pt2"
    )
    content = artifact.path.read_bytes()
    assert str(tmp_path).encode() not in content
    assert str(Path(__file__).parent).encode() not in content
