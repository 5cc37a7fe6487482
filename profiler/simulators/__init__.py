"""Simulated devices: engines that estimate an exported artifact. Nothing here is ever a measurement."""

from profiler.simulators.estimate import Estimate, Estimator, Fidelity, Primitive, Provenance

__all__ = ["Estimate", "Estimator", "Fidelity", "Primitive", "Provenance"]
