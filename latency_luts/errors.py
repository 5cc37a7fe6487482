"""What can go wrong with tables.

LutError
├── LutFormatError     a table file is truncated or not a table
├── LutMismatchError   the table is for another space, workload, target or clock
└── MissingOperatorError   the table has no row for an operator that was asked for
"""


class LutError(Exception):
    """Base of this package's errors; the message names the thing, the value and the way out."""


class LutFormatError(LutError):
    """A table file is truncated, or is not a table."""


class LutMismatchError(LutError):
    """The table was measured for something else than what it is asked about."""


class MissingOperatorError(LutError):
    """The table lacks an operator."""
