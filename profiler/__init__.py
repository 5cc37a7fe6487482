"""Run and time any artifact on any device, and keep every raw sample. Never imports torch."""

from profiler.devices import Device, Devices, add_device, load_devices, open_session
from profiler.errors import (
    ConnectionLostError,
    DeviceBusyError,
    DeviceError,
    JournalError,
    ParityError,
    ProfilerError,
    SessionError,
    TransportError,
)
from profiler.hardware import LocalDevice, SshDevice
from profiler.journal import (
    Environment,
    JournalContent,
    JournalHeader,
    JournalItem,
    JournalPlan,
    read_journal,
    read_measurements,
)
from profiler.journal_writer import Journal
from profiler.measure import Progress, measure
from profiler.measurement import Measurement, RoundSamples
from profiler.openings import Opener
from profiler.parity import Parity, check_parity
from profiler.plan import Plan, PlanItem, estimate_s
from profiler.program import Program, Stage
from profiler.session import ReferenceWorkload, Sample, Tensors, TimingSession
from profiler.target import Clock, Target

__all__ = [
    "Clock",
    "ConnectionLostError",
    "Device",
    "DeviceBusyError",
    "DeviceError",
    "Devices",
    "Environment",
    "Journal",
    "JournalContent",
    "JournalError",
    "JournalHeader",
    "JournalItem",
    "JournalPlan",
    "LocalDevice",
    "Measurement",
    "Opener",
    "Parity",
    "ParityError",
    "Plan",
    "PlanItem",
    "ProfilerError",
    "Program",
    "Progress",
    "ReferenceWorkload",
    "RoundSamples",
    "Sample",
    "SessionError",
    "SshDevice",
    "Stage",
    "Target",
    "Tensors",
    "TimingSession",
    "TransportError",
    "add_device",
    "check_parity",
    "estimate_s",
    "load_devices",
    "measure",
    "open_session",
    "read_journal",
    "read_measurements",
]
