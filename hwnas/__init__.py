"""Hardware-aware neural architecture search for Transformers: measure, search, export, prove."""

__version__ = "0.1.0"
