"""``hwnas data``: real data to train on, fetched or made once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.console import emit, guarded, say
from hwnas.cli.options import JsonOption

if TYPE_CHECKING:
    from hwnas.data.task import Task

app = typer.Typer(help="Data to train and measure quality on.", no_args_is_help=True)

OutOption = Annotated[Path, typer.Option("--out", help="Task folder to make; give it to --data afterwards.")]
VocabularyOption = Annotated[int, typer.Option("--vocabulary-size", min=10, help="Subword pieces a side.")]
JointOption = Annotated[bool, typer.Option("--joint/--no-joint", help="One vocabulary for both sides.")]
MaxTokensOption = Annotated[int, typer.Option("--max-tokens", min=2, help="Drop longer training pairs.")]


@app.command(epilog="Example: hwnas data g2p")
@guarded
def g2p(
    file: Annotated[
        Path | None, typer.Option("--file", help="Your own copy of cmudict.dict, if there is no network.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Pronunciations from the CMU Pronouncing Dictionary. Its licence is BSD."""
    from hwnas.data import load_task
    from hwnas.data.g2p import import_dictionary

    task = load_task("g2p", say=say) if file is None else import_dictionary(file)
    _show(task, json)


@app.command(
    epilog="Example: hwnas data parallel --train-source t.en --train-target t.de --valid-source v.en"
    " --valid-target v.de --test-source x.en --test-target x.de --out data/mine"
)
@guarded
def parallel(
    train_source: Annotated[Path, typer.Option(help="One sentence a line, UTF-8.")],
    train_target: Annotated[Path, typer.Option(help="Its translations, line by line.")],
    valid_source: Annotated[Path, typer.Option()],
    valid_target: Annotated[Path, typer.Option()],
    test_source: Annotated[Path, typer.Option()],
    test_target: Annotated[Path, typer.Option()],
    out: OutOption,
    vocabulary_size: VocabularyOption = 8000,
    joint: JointOption = False,
    max_tokens: MaxTokensOption = 128,
    json: JsonOption = False,
) -> None:
    """Parallel text of your own, cut into subword pieces."""
    from hwnas.data.parallel import ParallelFiles, ParallelSettings, prepare_parallel

    task = prepare_parallel(
        {
            "train": ParallelFiles(train_source, train_target),
            "valid": ParallelFiles(valid_source, valid_target),
            "test": ParallelFiles(test_source, test_target),
        },
        out,
        ParallelSettings(vocabulary_size=vocabulary_size, joint=joint, max_tokens=max_tokens),
        say=say,
    )
    _show(task, json)


@app.command(epilog="Example: hwnas data debian --pair en-de --out data/en-de")
@guarded
def debian(
    out: OutOption,
    pair: Annotated[str, typer.Option(help="en-de or en-fr.")] = "en-de",
    vocabulary_size: VocabularyOption = 4000,
    joint: JointOption = True,
    max_tokens: MaxTokensOption = 60,
    json: JsonOption = False,
) -> None:
    """Parallel text from Debian's own translations. Fetched by this machine's apt."""
    from hwnas.data.debian import prepare_debian
    from hwnas.data.parallel import ParallelSettings

    settings = ParallelSettings(vocabulary_size=vocabulary_size, joint=joint, max_tokens=max_tokens)
    _show(prepare_debian(pair, out, settings, say=say), json)


def _show(task: Task, as_json: bool) -> None:
    sizes = {split: len(pairs) for split, pairs in task.pairs.items()}
    vocabularies = {"source": len(task.source_vocabulary), "target": len(task.target_vocabulary)}
    document = {"task": task.name, "metric": task.metric, "pairs": sizes, "vocabulary": vocabularies}
    emit(
        document,
        as_json,
        f"{task.name}: " + ", ".join(f"{number:,} {split}" for split, number in sizes.items()) + " pairs;"
        f" {vocabularies['source']} source and {vocabularies['target']} target symbols; metric {task.metric}",
    )
