"""What can go wrong in hwnas; the command line prints the message in one line and exits with 1.

HwnasError
├── SpaceError         a search space, candidate or SubTransformer file cannot be used
├── WorkloadError      a workload that cannot be
├── DataError          data that is missing, empty or unusable
├── CheckpointError    a checkpoint that is damaged or for something else
├── PredictorError     a whole-model predictor that cannot be fitted, read or used
├── SearchError        a search that cannot be run or continued
│   └── InfeasibleError    no candidate meets the limits
├── DeployError        a bundle that cannot be built, read or trusted
├── AcceleratorError   a question about accelerators that cannot be asked so
├── ReportError        runs that cannot be reported or compared
└── MissingExtraError  an optional dependency is not installed; the message says how to
"""


class HwnasError(Exception):
    """Base of this package's errors; the message names the thing, the value and the way out."""


class SpaceError(HwnasError):
    """A search space, candidate or SubTransformer file cannot be used."""


class WorkloadError(HwnasError):
    """A workload that cannot be, or another than the one a table was measured for."""


class DataError(HwnasError):
    """Data that is missing, empty or unusable."""


class CheckpointError(HwnasError):
    """A checkpoint that is damaged or belongs to something else."""


class PredictorError(HwnasError):
    """A whole-model predictor that cannot be fitted, read or used for what is asked."""


class SearchError(HwnasError):
    """A search that cannot be run or continued."""


class InfeasibleError(SearchError):
    """No candidate of the space meets the limits; the message gives the feasible range."""


class DeployError(HwnasError):
    """A bundle that cannot be built, read or trusted."""


class AcceleratorError(HwnasError):
    """A question about accelerators that cannot be asked so."""


class ReportError(HwnasError):
    """Runs that cannot be reported or compared."""


class MissingExtraError(HwnasError):
    """An optional dependency is not installed."""
