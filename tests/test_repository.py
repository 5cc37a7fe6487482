"""The repository itself: its layout, what may not stand in it, and what must work without heavy libraries."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ["exporters", "profiler", "latency_luts", "hwnas"]

# Character classes keep these patterns from matching this file.
FORBIDDEN = {
    "the path of a machine": r"(?<![\w.])/(?:[w]ork|[r]oot|home/\w+|Users/\w+)/",
    "the host of a registry": r"[p]ypi\.org|python[h]osted\.org|download\.[p]ytorch|hugging[f]ace\.co"
    r"|[d]eb\.debian|archive\.[u]buntu|conda\.[a]naconda|registry\.[n]pmjs",
}


def tracked_files():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout: which files belong to the repository is not known")
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_the_layout():
    for name in [*PACKAGES, "tests", "benchmarks", "docs", "scripts", ".ci"]:
        assert (ROOT / name).is_dir(), name
    for name in [
        "Makefile",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "constraints.txt",
        "devices.yaml",
    ]:
        assert (ROOT / name).is_file(), name
    for package in PACKAGES:
        assert (ROOT / package / "__init__.py").is_file()
        assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what):
    pattern = re.compile(FORBIDDEN[what])
    found = []
    for file in tracked_files():
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{file.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(text.splitlines(), 1)
            if pattern.search(line)
        ]
    assert not found


def test_every_source_file_says_its_job_and_stays_short():
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            lines = file.read_text(encoding="utf-8").splitlines()
            assert lines, file
            assert lines[0].startswith('"""'), f"{file} does not say its job in its first line"
            assert "TODO" not in lines[0], file
            assert len(lines) <= 400, f"{file} has {len(lines)} lines; a file has one job"


def test_no_page_has_a_hole():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        assert "@@" not in page.read_text(encoding="utf-8"), page


def test_test_files_have_unique_names():
    names = [file.name for file in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))


def run_without(blocked, program):
    """Run ``program`` in a process where the ``blocked`` libraries cannot be imported."""
    blocker = (
        "import importlib.abc, sys\n"
        "class Blocker(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {set(blocked)!r}:\n"
        "            raise ImportError(f'{name} is blocked')\n"
        "sys.meta_path.insert(0, Blocker())\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", blocker + program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = ["torch", "onnx", "onnxruntime", "onnxscript", "sentencepiece", "sacrebleu"]

LIGHT_USE = """
import exporters, profiler, latency_luts, hwnas, hwnas.data, hwnas.metrics, hwnas.workload, hwnas.errors
from hwnas.families import get_family
from hwnas.metrics import per_wer
from hwnas.spaces import load_space
from latency_luts import OperatorSpec
space = load_space("g2p")
assert get_family(space.family).terms(space, space.workload)
assert per_wer(["K AE T"], [["K AE T"]]).wer == 0
spec = OperatorSpec("encoder_ffn", (("embed", 64),), "fp32")
assert OperatorSpec.parse(str(spec)) == spec
"""


def test_tables_and_spaces_work_without_the_heavy_libraries():
    run_without(HEAVY, LIGHT_USE)


@pytest.mark.parametrize("module", ["hwnas.latency", "hwnas.data", "hwnas.data.parallel", "hwnas.cli.commands"])
def test_modules_import_without_the_heavy_libraries(module):
    run_without(HEAVY, f"import {module}")


def test_importing_hwnas_loads_no_heavy_library():
    heavy = {*HEAVY, "scipy", "pydantic", "typer", "rich"}
    program = f"import hwnas, sys; print(sorted({heavy!r} & set(sys.modules)))"
    assert run_without([], program).strip() == "[]"


def test_the_package_data_are_declared():
    """Every file that is read at run time is part of a built wheel."""
    import tomllib
    from fnmatch import fnmatch

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    missing = []
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*")):
            name = file.relative_to(ROOT / package).as_posix()
            if not file.is_file() or file.suffix in {".py", ".pyc"}:
                continue
            if not any(fnmatch(name, pattern) for pattern in declared["package-data"][package]):
                missing.append(f"{package}/{name}")
    assert not missing
