"""What can go wrong while exporting.

ExportError
└── ArtifactError      an artifact on disk is missing, truncated or not what its sidecar says
"""


class ExportError(Exception):
    """A module could not be exported; the message names it and the way out."""


class ArtifactError(ExportError):
    """An artifact on disk is missing, truncated, or does not match its sidecar."""
