"""What a page lacks, and which command makes it."""

from __future__ import annotations

from collections.abc import Iterator

from hwnas.report.view import Missing, RunView


def missing_of(view: RunView, space: str, loaded: bool) -> Iterator[Missing]:
    """Every part that this run has not, in the order of the page; ``loaded`` says whether the space is known."""
    yield from _of_the_search(view, space)
    yield from _of_the_table(view, space, loaded)
    folder = view.run.folder.name
    if view.bundle is None:
        yield Missing("a bundle, measured as exported", f"hwnas export {folder}/winner.yml … --out {folder}/bundle")
    elif view.shipped is None:
        yield Missing("a bundle of this winner: the one there is of another", f"hwnas export {folder}/winner.yml …")
    if view.profile is None and (view.predictions is None or view.predictions.measured):
        measure = f"hwnas explain {folder}/winner.yml … --measure --json > {folder}/explain.json"
        yield Missing("the runtime's own profile, by primitive", measure)


def _of_the_search(view: RunView, space: str) -> Iterator[Missing]:
    search = view.search
    if search is None:
        yield Missing("a search", f"hwnas search --space {space} … --out {view.run.folder.name}")
        return
    if search.result is None:
        yield Missing("the winner: the search has not ended", "run its command again, it goes on where it stopped")
    elif view.measured is None and view.origin == "measured":
        yield Missing("a measurement of the winner", "search without --no-measure, or hwnas export")
    if search.baseline is None and search.method != "random":
        yield Missing("random search at equal cost", "hwnas search … --baseline, or --method random --exclude")
    for document in (*search.journals, search.finalists):
        if document is not None and document.torn:
            yield Missing(f"the last line of {document.name}: it was cut off", "run the search again, it goes on")


def _of_the_table(view: RunView, space: str, loaded: bool) -> Iterator[Missing]:
    if not loaded:
        yield Missing(f"predictions: the space {space!r} does not ship", "hwnas report --space FILE.yaml")
    elif view.predictions is not None:
        incomplete = view.predictions.table.lut.incomplete
        if incomplete is not None:
            yield Missing(f"a part of the table: {incomplete}", "run its hwnas profile again")
    elif view.origin.startswith("learnt"):
        yield Missing(f"the front, for its latencies are {view.origin}", "search with --table to have one")
    else:
        yield Missing("the latency table that the search used", f"hwnas report {view.run.folder.name} TABLE.lut.jsonl")
