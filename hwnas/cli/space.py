"""``hwnas space``: search spaces, their candidates, and what a candidate weighs."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.console import emit, guarded, table
from hwnas.cli.options import (
    FamilyOption,
    JsonOption,
    SeedOption,
    SourceTokensOption,
    TargetTokensOption,
    VocabularyOption,
    load,
    workload_of,
)

app = typer.Typer(help="Search spaces and candidates.", no_args_is_help=True)


@app.command("list", epilog="Example: hwnas space list --json")
@guarded
def list_spaces(json: JsonOption = False) -> None:
    """The spaces that ship."""
    from hwnas.spaces import load_space, shipped_spaces

    rows = [
        {"space": name, "family": space.family, "choices": len(space.choices), "candidates": space.size()}
        for name, space in ((name, load_space(name)) for name in shipped_spaces())
    ]
    emit(
        rows,
        json,
        lambda: table(
            ["space", "family", "choices", "candidates"],
            [[r["space"], r["family"], r["choices"], f"{r['candidates']:.3g}"] for r in rows],
        ),
    )


@app.command(epilog="Example: hwnas space show g2p")
@guarded
def show(
    space: Annotated[str, typer.Argument(help="A shipped space or a YAML file.")],
    family: FamilyOption = None,
    json: JsonOption = False,
) -> None:
    """A space's choices, workload and operators."""
    from hwnas.latency import operators_of

    loaded, kind = load(space, family)
    operators = operators_of(loaded, kind, loaded.workload)
    document = {
        "space": loaded.name,
        "family": loaded.family,
        "candidates": loaded.size(),
        "workload": loaded.workload.as_dict(),
        "fixed": dict(loaded.fixed),
        "choices": {choice.name: list(choice.values) for choice in loaded.choices},
        "operators": [str(operator) for operator in operators],
    }
    workload = ", ".join(f"{name} {value}" for name, value in loaded.workload.as_dict().items())
    emit(
        document,
        json,
        lambda: (
            f"{loaded.name}: {loaded.size():.4g} candidates, {len(operators)} operators ({loaded.family})\n"
            f"workload: {workload}\n"
            + table(["choice", "values"], [[c.name, ", ".join(map(str, c.values))] for c in loaded.choices])
        ),
    )


@app.command(epilog="Example: hwnas space sample g2p --count 3 --seed 1")
@guarded
def sample(
    space: Annotated[str, typer.Argument(help="A shipped space or a YAML file.")],
    number: Annotated[int, typer.Option("--count", min=1, help="How many.")] = 1,
    seed: SeedOption = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Write the (first) candidate to this YAML file.")] = None,
    hat: Annotated[bool, typer.Option("--hat", help="With --out: write HAT's own YAML.")] = False,
    family: FamilyOption = None,
    json: JsonOption = False,
) -> None:
    """Random candidates, one a line; with --json, a list."""
    import random

    from hwnas.candidates import write_candidate
    from hwnas.errors import SpaceError

    if hat and out is None:
        raise SpaceError("--hat says how --out is written; name a file with --out")
    loaded, _ = load(space, family)
    rng = random.Random(f"{seed}/sample")
    candidates = [loaded.sample(rng) for _ in range(number)]
    if out is not None:
        write_candidate(out, loaded, candidates[0], hat=hat)
    documents = [candidate.as_dict() for candidate in candidates]
    emit(documents, json, lambda: "\n".join(map(dumps, documents)))


@app.command(
    epilog="Example: hwnas space count HAT_wmt14ende.yml --convention hat --source-tokens 30 --target-tokens 30 --json"
)
@guarded
def count(
    candidate: Annotated[Path, typer.Argument(help="HAT's subtransformer YAML, or a candidate of ours.")],
    space: Annotated[
        str | None, typer.Option("--space", help="The space it is from; not needed for HAT's YAML.")
    ] = None,
    convention: Annotated[
        str,
        typer.Option(help="hat: without embedding table and output layer, as published; full: everything."),
    ] = "full",
    source_tokens: SourceTokensOption = None,
    target_tokens: TargetTokensOption = None,
    vocabulary: VocabularyOption = None,
    family: FamilyOption = None,
    json: JsonOption = False,
) -> None:
    """Parameters and FLOPs of one candidate for one sentence. A multiply-accumulate is two FLOPs."""
    from hwnas.candidates import read_any_candidate
    from hwnas.errors import SpaceError

    if convention not in ("hat", "full"):
        raise SpaceError(f"--convention {convention!r} is unknown; known: hat, full")
    loaded, kind, chosen = read_any_candidate(candidate, space, family)
    workload = workload_of(
        loaded.workload, source_tokens=source_tokens, target_tokens=target_tokens, vocabulary=vocabulary
    )
    result = kind.count(loaded, chosen, workload, "hat" if convention == "hat" else "full")
    document = {
        "candidate": str(candidate),
        "convention": convention,
        "source_tokens": workload.source_tokens,
        "target_tokens": workload.target_tokens,
        "params_m": result.params / 1e6,
        "flops_g": 2 * result.macs / 1e9,
    }
    emit(
        document,
        json,
        f"{result.params / 1e6:.2f} M parameters, {_gflops(result.macs)}"
        f" ({convention}; {workload.source_tokens} source, {workload.target_tokens} target tokens)",
    )


def _gflops(macs: int) -> str:
    """FLOPs with their unit: a small model's are no ``0.00 GFLOPs``."""
    return f"{2 * macs / 1e9:.2f} GFLOPs" if 2 * macs >= 1e9 else f"{2 * macs / 1e6:.2f} MFLOPs"
