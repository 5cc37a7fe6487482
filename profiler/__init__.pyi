from .devices import Device, Devices, add_device, load_devices, open_session
from .errors import (
    ConnectionLostError,
    DeviceBusyError,
    DeviceError,
    JournalError,
    ParityError,
    ProfilerError,
    SessionError,
    TransportError,
)
from .hardware import LocalDevice, SshDevice
from .journal import (
    Environment,
    JournalContent,
    JournalHeader,
    JournalItem,
    JournalPlan,
    read_journal,
    read_measurements,
)
from .journal_writer import Journal
from .measurement import Measurement, RoundSamples
from .measuring import Progress, measure
from .openings import Opener
from .parity import Parity, check_parity
from .plan import Plan, PlanItem, estimate_s
from .program import Program, Stage
from .session import ReferenceWorkload, Sample, Tensors, TimingSession
from .target import Clock, Target

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
