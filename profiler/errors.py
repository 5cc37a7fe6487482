"""What can go wrong with devices, sessions and measurements.

ProfilerError
├── DeviceError        devices.yaml cannot be read, or lacks or mistakes a device
├── DeviceBusyError    another process measures on the device
├── TransportError     a device cannot be reached, or a file or command did not get through
│   └── ConnectionLostError    the way to a device broke; opening it again may help
├── BoardError         a board is in no state to measure on: under-voltage, throttled, its governor not to be set
├── SessionError       the worker on a device refused a request or died
├── ParityError        an artifact's outputs on a device are not PyTorch's
├── JournalError       a journal is damaged, locked, full, or belongs to another run
├── SimulationError    an engine cannot estimate an artifact, or its parameters are impossible
└── ToolchainError     a private environment is missing, cannot be made, or its tool failed
    └── ToolRefusalError   a tool runs, but not with what it was asked
"""


class ProfilerError(Exception):
    """Base of this package's errors; the message names the thing, the value and the way out."""


class DeviceError(ProfilerError):
    """``devices.yaml`` cannot be read, or lacks or mistakes a device."""


class DeviceBusyError(ProfilerError):
    """Another process measures on the device; two at once would disturb each other."""


class TransportError(ProfilerError):
    """A device cannot be reached, or a file or command did not get through."""


class ConnectionLostError(TransportError):
    """The way to a device broke or did not come about; opening it again may help."""


class BoardError(ProfilerError):
    """A board is in no state to measure on, and will not be by itself."""


class SessionError(ProfilerError):
    """The worker on a device refused a request or died."""


class ParityError(ProfilerError):
    """An artifact's outputs on a device are not the ones PyTorch gave."""


class JournalError(ProfilerError):
    """A journal is damaged, locked by another process, out of space, or of another run."""


class SimulationError(ProfilerError):
    """An engine cannot estimate an artifact, or its parameters are impossible."""


class ToolchainError(ProfilerError):
    """A toolchain's private environment is missing, cannot be made, or its tool failed."""


class ToolRefusalError(ToolchainError):
    """A toolchain's tool refused what it was asked, in its own words; it still runs."""
