"""What is to be measured, how often, and how long that will take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from profiler.anchor import Anchor
from profiler.errors import ProfilerError
from profiler.journal import JournalHeader, JournalItem, JournalPlan, Json, Role
from profiler.program import Program
from profiler.target import Target

MAX_SAMPLE_MS = 50.0
"""A longer sample only collects more disturbance; one call may take longer."""

LOADED_PER_FILE_BYTE = 2.2
"""Memory a loaded graph takes per byte on disk: ONNX Runtime keeps a packed copy of the weights."""

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One thing to time; ``meta`` (JSON-able) stands in the journal for who reads it.

    ``use`` is how often it is paid by who asks (a random candidate of a search space, say): where
    time is short, the widest interval times ``use`` comes first. ``target``: where alone it is measured, if not
    on every target of the run.
    """

    name: str
    role: Role
    program: Program
    meta: Json = field(default_factory=dict)
    use: float = 1.0
    target: str | None = None

    @property
    def loaded_bytes(self) -> int:
        """Estimate of the memory it takes when loaded."""
        return int(LOADED_PER_FILE_BYTE * self.program.size_bytes)


@dataclass(frozen=True, slots=True)
class Plan:
    """Items, and how often each is visited, with ``samples`` samples of at least ``min_sample_ms`` a visit.

    An item is done after ``min_rounds`` once the 95 % interval of its latency is at most
    ``half_width`` of it to either side, and after ``rounds`` in any case; without ``half_width``
    every item has exactly ``rounds``. No round is begun that would not end within ``budget_s`` of
    measuring. Raises :class:`ProfilerError` for a plan that cannot be.
    """

    items: tuple[PlanItem, ...]
    rounds: int = 10
    samples: int = 5
    min_sample_ms: float = 2.0
    seed: int = 0
    min_rounds: int = 10
    half_width: float | None = None
    budget_s: float | None = None
    memory_limit_bytes: int = 8 * GIB

    def __post_init__(self) -> None:
        names = [item.name for item in self.items]
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if not names or twice:
            raise ProfilerError(f"plan: {twice[0]} is given twice" if twice else "plan: nothing to measure")
        if self.rounds < 1 or self.samples < 1:
            raise ProfilerError(f"plan: {self.rounds} rounds of {self.samples} samples; both must be at least 1")
        if not 0 < self.min_sample_ms <= MAX_SAMPLE_MS:
            raise ProfilerError(f"plan: min_sample_ms is {self.min_sample_ms}; it must be in (0, {MAX_SAMPLE_MS:g}]")

        if self.min_rounds < 1 or (self.half_width is not None and self.half_width <= 0):
            raise ProfilerError(
                f"plan: half_width is {self.half_width} after {self.min_rounds} rounds; both must be above 0"
            )
        if self.budget_s is not None and self.budget_s <= 0:
            raise ProfilerError(f"plan: the budget is {self.budget_s} s; it must be above 0")

    def header(
        self, targets: Sequence[Target], *, workload: Json, subject: Json, anchors: Mapping[str, Anchor] | None = None
    ) -> JournalHeader:
        """The header of a journal of this plan on these targets, told at the levels of ``anchors`` (by target)."""
        return JournalHeader(
            targets=tuple(targets),
            workload=workload,
            subject=subject,
            items=tuple(
                JournalItem(
                    item.name,
                    item.role,
                    item.program.sha256,
                    item.meta,
                    tuple(stage.artifact.sha256 for stage in item.program.stages),
                    sum(stage.repeat * stage.artifact.streamed_bytes for stage in item.program.stages),
                    item.use,
                )
                for item in self.items
            ),
            plan=JournalPlan(
                self.rounds,
                self.samples,
                self.min_sample_ms,
                self.seed,
                self.min_rounds,
                self.half_width,
                self.budget_s,
            ),
            anchors=dict(anchors or {}),
        )


def estimate_s(plan: Plan, call_ms: Mapping[str, float] | None = None, targets: int = 1) -> float:
    """Seconds the rounds will take on an idle machine, loading and calibrating aside.

    ``call_ms`` gives what is known or guessed of a call's latency by item; without it an item is
    taken to be short (a sample then lasts ``min_sample_ms``), so the result is a lower bound.
    """
    known = call_ms or {}
    visit_ms = sum(plan.samples * sample_ms(plan, known.get(item.name, 0.0)) for item in plan.items)
    return targets * plan.rounds * visit_ms / 1e3


def sample_ms(plan: Plan, call_ms: float) -> float:
    """How long a sample lasts that is as short as the plan allows."""
    return max(plan.min_sample_ms, call_ms)
