"""Environments are whole or not there, one install at a time; tools answer in JSON lines."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from cli.shell import Shell

from profiler.errors import ToolchainError
from profiler.toolchain import Toolchain, ToolProcess, environment, install, load_toolchains, remove, state
from profiler.toolchain.place import PARTIAL

TOOL = """
import os, sys, time
def check():
    return {"python": sys.prefix}
def add(a, b):
    print("this must not be taken for a reply")
    return a + b
def refuse():
    raise ValueError("no\\nroom")
def leave():
    sys.stderr.write("out of memory\\n"); sys.stderr.flush(); os._exit(7)
def sleep():
    time.sleep(1)
"""


@pytest.fixture
def toolchain(tmp_path):
    """A toolchain without packages: only the standard library, so it is made in a moment."""
    (tmp_path / "tool.py").write_text(TOOL)
    (tmp_path / "lock.txt").write_text("# nothing\n")
    return Toolchain("small", "for tests", tmp_path / "lock.txt", tmp_path / "tool.py")


@pytest.fixture
def process(toolchain):
    with ToolProcess(Path(sys.executable), toolchain) as running:
        yield running


def test_it_is_installed_checked_and_removed(toolchain, tmp_path):
    root = tmp_path / "root"
    assert state(toolchain, root) == "missing"
    found = install(toolchain, root)
    assert found == {"python": str(environment(toolchain, root))}
    assert state(toolchain, root) == "installed"
    assert install(toolchain, root) == found
    assert remove(toolchain, root)
    assert not remove(toolchain, root)
    assert [path.name for path in root.iterdir()] == ["small.lock"]


def test_other_pins_are_another_environment_and_the_old_one_goes(toolchain, tmp_path):
    root = tmp_path / "root"
    install(toolchain, root)
    old = environment(toolchain, root)
    toolchain.lock.write_text("no package==1\n")
    assert state(toolchain, root) == "outdated"
    with pytest.raises(ToolchainError, match="cannot be installed: ERROR: Invalid requirement"):
        install(toolchain, root)
    assert old.is_dir() and not environment(toolchain, root).exists()
    toolchain.lock.write_text("")
    install(toolchain, root)
    assert state(toolchain, root) == "installed"


def test_a_failed_check_leaves_nothing(toolchain, tmp_path):
    toolchain.tool.write_text("import nowhere\n")
    with pytest.raises(ToolchainError, match="small: ModuleNotFoundError: No module named 'nowhere'"):
        install(toolchain, tmp_path / "root")
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["small.lock"]


def test_killed_in_the_middle_leaves_nothing_that_counts(toolchain, tmp_path):
    root, ready = tmp_path / "root", tmp_path / "ready"
    toolchain.tool.write_text(f"import time, pathlib\npathlib.Path({str(ready)!r}).touch()\ntime.sleep(10)\n")
    code = f"""
        from pathlib import Path
        from profiler.toolchain import Toolchain, install
        here = Path({str(tmp_path)!r})
        install(Toolchain("small", "", here / "lock.txt", here / "tool.py"), here / "root")
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], cwd=Path(__file__).parents[2])
    while not ready.exists():
        assert child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert any(path.name.endswith(PARTIAL) for path in root.iterdir())
    assert state(toolchain, root) == "missing"
    toolchain.tool.write_text(TOOL)
    install(toolchain, root)
    assert {path.name for path in root.iterdir()} == {"small.lock", environment(toolchain, root).name}


def test_two_at_once_make_one(toolchain, tmp_path):
    """Each install appends a line while its tool is checked: the second must not build again."""
    toolchain.tool.write_text(TOOL + f"open({str(tmp_path / 'checks')!r}, 'a').write('x')\n")
    code = f"""
        from pathlib import Path
        from profiler.toolchain import Toolchain, install
        here = Path({str(tmp_path)!r})
        install(Toolchain("small", "", here / "lock.txt", here / "tool.py"), here / "root", say=print)
    """
    children = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert "".join(said).count("making an environment") == 1
    assert (tmp_path / "checks").read_text() == "xxx"  # before and after the one move, and the second's own


def test_a_function_is_called_and_its_prints_are_no_replies(process):
    assert process.call("add", a=1, b=2) == 3
    assert process.call("add", a="a", b="b") == "ab"


def test_the_files_beside_a_tool_are_modules_to_it(toolchain, tmp_path):
    (tmp_path / "beside.py").write_text("def double(number):\n    return 2 * number\n")
    toolchain.tool.write_text("from beside import double\n")
    with ToolProcess(Path(sys.executable), toolchain) as process:
        assert process.call("double", number=4) == 8


def test_an_error_is_one_line_and_the_process_goes_on(process):
    with pytest.raises(ToolchainError, match=r"^toolchain small: ValueError: no room$"):
        process.call("refuse")
    with pytest.raises(ToolchainError, match="no attribute 'nothing'"):
        process.call("nothing")
    assert process.call("add", a=1, b=1) == 2


def test_a_death_is_told_with_its_last_words(process):
    with pytest.raises(ToolchainError, match=r"^toolchain small died in leave: out of memory$"):
        process.call("leave")


def test_what_takes_too_long_is_ended(process):
    with pytest.raises(ToolchainError, match=r"^toolchain small: sleep took more than 0.1 s$"):
        process.call("sleep", timeout_s=0.1)


def test_a_missing_one_names_the_command(tmp_path):
    with pytest.raises(ToolchainError, match="is not installed; run: hwnas toolchain install nn-dataflow"):
        ToolProcess.open("nn-dataflow", tmp_path)
    with pytest.raises(ToolchainError, match=r"no toolchain 'nn'; known: .*nn-dataflow"):
        ToolProcess.open("nn", tmp_path)


def test_every_one_that_ships_is_pinned_and_has_its_tool():
    for toolchain in load_toolchains().values():
        assert toolchain.versions
        assert all(package and version for package, version in toolchain.versions.items()), toolchain.name
        assert "def check(" in toolchain.tool.read_text()


def test_the_command_line(tmp_path):
    shell = Shell(tmp_path, tmp_path / "cache")
    listed = shell("toolchain", "list", "--json").json["toolchains"]
    assert {"nn-dataflow"} <= {entry["name"] for entry in listed}
    assert {entry["state"] for entry in listed} == {"missing"}
    assert shell("toolchain", "install", "nothing").refusal.startswith("hwnas: there is no toolchain 'nothing'; known:")
    assert shell("toolchain", "remove", "nn-dataflow", "--json").json["removed"] is False


def test_an_environment_that_cannot_be_written(toolchain, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolchainError, match="XDG_CACHE_HOME"):
        install(toolchain, tmp_path / "file" / "root")


@pytest.mark.parametrize(
    "error", [subprocess.CalledProcessError(1, ["ensurepip"]), ValueError("a name with ':'"), OSError("read-only")]
)
def test_an_environment_that_cannot_be_made(toolchain, tmp_path, monkeypatch, error):
    def create(*_, **__):
        raise error

    monkeypatch.setattr("venv.create", create)
    with pytest.raises(ToolchainError, match=r"cannot make .*small-") as caught:
        install(toolchain, tmp_path / "root")
    assert "\n" not in str(caught.value)
    assert state(toolchain, tmp_path / "root") == "missing"
