"""Run and time any artifact on any device, and keep every raw sample. Never imports torch."""

from profiler.errors import (
    DeviceError,
    JournalError,
    ParityError,
    ProfilerError,
    SessionError,
    TransportError,
)
from profiler.journal import (
    Environment,
    JournalContent,
    JournalHeader,
    JournalItem,
    JournalPlan,
    read_journal,
    read_measurements,
)
from profiler.measurement import Measurement, RoundSamples
from profiler.parity import Parity, check_parity
from profiler.program import Program, Stage
from profiler.session import Sample, Tensors, TimingSession
from profiler.target import Clock, Target

__all__ = [
    "Clock",
    "DeviceError",
    "Environment",
    "JournalContent",
    "JournalError",
    "JournalHeader",
    "JournalItem",
    "JournalPlan",
    "Measurement",
    "Parity",
    "ParityError",
    "ProfilerError",
    "Program",
    "RoundSamples",
    "Sample",
    "SessionError",
    "Stage",
    "Target",
    "Tensors",
    "TimingSession",
    "TransportError",
    "check_parity",
    "read_journal",
    "read_measurements",
]
