"""Every numeric constant of our own engines' formulas matters: changed, a check of known figures fails."""

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from simulators import ethos_u_checks, eyeriss_checks, roofline_checks, shiftadd_checks, systolic_checks

CHECKS: dict[str, Callable[[ModuleType], None]] = {
    **systolic_checks.CHECKS,
    **shiftadd_checks.CHECKS,
    **roofline_checks.CHECKS,
    **eyeriss_checks.CHECKS,
    **ethos_u_checks.CHECKS,
}
"""Module -> the check that knows its figures, from a source that is not the module."""


def constants(tree: ast.AST) -> list[ast.Constant]:
    """The numbers in ``tree``, but for those that only shape a message or pick an item of a sequence."""
    aside = [
        node.slice if isinstance(node, ast.Subscript) else node
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr | ast.Subscript)
    ]
    shown = {id(inner) for node in aside for inner in ast.walk(node)}
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and type(node.value) in (int, float) and id(node) not in shown
    ]


def source_of(module: ModuleType) -> str:
    assert module.__file__ is not None
    return Path(module.__file__).read_text(encoding="utf-8")


@contextmanager
def copied(name: str, tree: ast.Module) -> Iterator[ModuleType]:
    """Module ``name`` with ``tree`` for its code; registered while it is in use."""
    file = import_module(name).__file__
    assert file is not None
    copy = ModuleType(f"{name}_mutated")
    copy.__file__ = file
    sys.modules[copy.__name__] = copy
    try:
        exec(compile(tree, file, "exec"), copy.__dict__)
        yield copy
    finally:
        del sys.modules[copy.__name__]


def mutants(name: str) -> Iterator[tuple[str, ModuleType]]:
    """``name`` once for every constant and change, with what was changed; registered while it is in use."""
    source = source_of(import_module(name))
    for index in range(len(constants(ast.parse(source)))):
        for change in (1, -1):
            tree = ast.parse(source)
            constant = constants(tree)[index]
            assert isinstance(constant.value, int | float)
            before = constant.value
            constant.value = before + change * (1 if isinstance(before, int) else max(abs(before), 1.0) / 100)
            with copied(name, tree) as mutant:
                yield f"line {constant.lineno}: {before} -> {constant.value}", mutant


def survives(check: Callable[[ModuleType], None], mutant: ModuleType) -> bool:
    try:
        check(mutant)
    except (Exception, pytest.fail.Exception):
        return False
    return True


@pytest.mark.parametrize("name", CHECKS)
def test_the_figures_are_the_modules(name: str) -> None:
    CHECKS[name](import_module(name))


@pytest.mark.parametrize("name", CHECKS)
def test_a_copy_that_nothing_was_changed_in_survives(name: str) -> None:
    """Or else mutants would die of being copies."""
    with copied(name, ast.parse(source_of(import_module(name)))) as copy:
        CHECKS[name](copy)


@pytest.mark.parametrize("name", CHECKS)
def test_every_constant_matters(name: str) -> None:
    alive = {change: survives(CHECKS[name], mutant) for change, mutant in mutants(name)}
    assert alive
    left = [change for change, survived in alive.items() if survived]
    assert not left, "\n".join(left)
