"""``hwnas run``: answer real input with a bundle."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.console import emit, guarded, say
from hwnas.cli.options import JsonOption


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog='Example: hwnas run runs/bundle "transformer"')(run)


@guarded
def run(
    bundle: Annotated[Path, typer.Argument(help="Folder made by hwnas export.")],
    text: Annotated[list[str] | None, typer.Argument(help="Inputs; else one per line from standard input.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; else the bundle's.")] = None,
    json: JsonOption = False,
) -> None:
    """Answer input with a bundle, as its own runner does."""
    from hwnas.deploy.graphs import BundleError
    from hwnas.deploy.runner import lines_of_stdin, note_on, shown
    from hwnas.deploy.verify import open_bundle

    answers: list[dict[str, str | None]] = []
    refused = 0
    with closing(open_bundle(bundle, threads)) as model:
        for line in text or lines_of_stdin():
            try:
                answer: str | None = model(line)
            except BundleError as exc:
                say(f"hwnas: {shown(line)}: {exc}")
                answer, refused = None, refused + 1
            else:
                if note := note_on(model, line):
                    say(f"hwnas: {note}")
            answers.append({"input": line, "output": answer})
            if not json and answer is not None:
                print(answer, flush=True)
    if json:
        emit(answers, True, "")
    if refused:
        raise SystemExit(1 if refused == len(answers) else 3)
