"""What a figure's sources say it must be, worked out from the run's files and not by the report's code."""

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from hwnas.families import get_family
from hwnas.latency import TableLatency, decompose_terms
from hwnas.spaces import load_space
from latency_luts import LatencyLut

YES_NO = {"True": "yes", "False": "no"}


class Files:
    """The files that a page in ``folder`` names; ``space`` is theirs."""

    def __init__(self, folder, space="g2p"):
        self.folder = Path(folder)
        self.space = load_space(space)
        self.document = cache(self._document)
        self.table = cache(self._table)

    def _document(self, name):
        text = (self.folder / name).read_text()
        if name.endswith(".jsonl"):
            return [json.loads(line) for line in text.split("\n")[:-1]]
        return json.loads(text)

    def _table(self, name):
        return TableLatency.from_lut(self.space, get_family(self.space.family), LatencyLut.load(self.folder / name))

    def entries(self, source):
        """Everything that stands at a place."""
        name, _, pointer = source.partition("#")
        found = [self.document(name)]
        for part in pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            entered = []
            for entry in found:
                if key == "*":
                    entered += entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else []
                elif isinstance(entry, list):
                    entered += [entry[int(key)]]
                elif isinstance(entry, dict) and key in entry:
                    entered += [entry[key]]
            found = entered
        return found

    def one(self, source):
        (found,) = self.entries(source)
        return found

    def numbers(self, sources):
        return [e for s in sources for e in self.entries(s) if isinstance(e, int | float)]

    def expected(self, figure):
        """What the figure must be."""
        kind, _, of = figure.how.partition(":")
        if kind == "within":
            told = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", self.one(figure.sources[0]))}
            assert float(figure.value) in told, (figure, told)
            return float(figure.value)
        if kind in self.BY_PLACES:
            return self.BY_PLACES[kind](self, figure.sources, of)
        return self._by_table(kind, of, figure.sources)

    BY_PLACES = MappingProxyType(
        {
            "value": lambda self, sources, _: YES_NO.get(str(self.one(sources[0])), self.one(sources[0])),
            "architecture": lambda self, sources, _: self.one(sources[0]),
            "change": lambda self, sources, _: np.divide(*map(self.latency, sources)) - 1,
            "less-one": lambda self, sources, _: self.one(sources[0]) - 1,
            "sum": lambda self, sources, _: sum(self.numbers(sources)),
            "min": lambda self, sources, _: min(self.numbers(sources)),
            "max": lambda self, sources, _: max(self.numbers(sources)),
            "count": lambda self, sources, of: self.count(sources, of),
            "count-operators": lambda self, sources, of: sum(
                row.get("status") == of for row in self.document(sources[0].partition("#")[0]) if "operator" in row
            ),
            "within-percent": lambda self, sources, _: float(re.search(r"(\S+) %", self.one(sources[0]))[1]) / 100,
            "margin": lambda self, sources, _: round(1 - np.divide(*map(self.latency, sources)), 6),
            "flag": lambda self, sources, _: str(self.one(sources[0])).lower(),
            "target": lambda self, sources, _: "{device}/{runtime}/threads={threads}/{clock}".format_map(
                self.one(sources[0])
            ),
        }
    )

    def latency(self, source):
        found = self.one(source)
        return float(re.search(r"latency <= (\S+) ms", found)[1]) if isinstance(found, str) else found

    def count(self, sources, of):
        found = [entry for source in sources for entry in self.entries(source)]
        return found.count(of) if of else len(self.numbers(sources))

    def _by_table(self, kind, of, sources):
        model = self.table(sources[0].partition("#")[0])
        if kind == "held-out":
            checked = model.lut.models_of("check")
            predicted = [model.of(self.space.candidate(m.candidate)) for m in checked]
            errors = np.array([p / m.latency_ms - 1 for p, m in zip(predicted, checked, strict=True)])
            halves = [abs(m.halves_ms[0] - m.halves_ms[1]) / m.latency_ms for m in checked]
            ranks = [np.argsort(np.argsort(x)) for x in (predicted, [m.latency_ms for m in checked])]
            return {
                "models": len(checked),
                "mape": np.abs(errors).mean(),
                "worst": np.abs(errors).max(),
                "split_half_floor": np.mean(halves),
                "spearman": np.corrcoef(*ranks)[0, 1],
            }[of]
        candidate = self.space.candidate(self.one(sources[1]))
        if kind == "predicted":
            return model.of(candidate)
        if kind in ("predicted-low", "predicted-high"):
            return model.interval_of(candidate)[kind == "predicted-high"]
        assert kind in ("cost", "share"), kind
        calibration = model.calibration
        paid = decompose_terms(self.space, model.terms, candidate)
        costs = Counter({"per-model": calibration.constant_ms})
        for operator, count in paid.items():
            costs[operator.kind] += count * calibration.contribution_ms(operator)
        return costs[of] / (model.of(candidate) if kind == "share" else 1)
