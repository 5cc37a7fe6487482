"""Turn any torch ``nn.Module`` into a checked, deployable :class:`Artifact`."""

from exporters.artifact import Artifact, TensorInfo
from exporters.cache import cached_path, export_cached
from exporters.errors import ArtifactError, ExportError
from exporters.protocol import Exporter, GraphInputs

__all__ = [
    "Artifact",
    "ArtifactError",
    "ExportError",
    "Exporter",
    "GraphInputs",
    "TensorInfo",
    "cached_path",
    "export_cached",
]
