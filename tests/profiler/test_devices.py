from pathlib import Path

import pytest
import yaml

from profiler import DeviceError, LocalDevice, add_device, load_devices
from profiler.devices import SHIPPED

ROOT = Path(__file__).parents[2]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_explicit_then_here_then_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_devices().path == SHIPPED
    assert load_devices().get("x86").effective_clock == "thread_cpu"
    write(tmp_path / "devices.yaml", "devices:\n  mine: {kind: local}\n")
    assert list(load_devices().by_name) == ["mine"]
    other = write(tmp_path / "other.yaml", "devices:\n  theirs: {kind: local}\n")
    assert list(load_devices(other).by_name) == ["theirs"]


def test_the_file_at_the_top_is_the_one_that_ships() -> None:
    assert (ROOT / "devices.yaml").read_bytes() == SHIPPED.read_bytes()


def test_a_device_is_four_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "d.yaml", "devices:\n  two:\n    kind: local\n    threads: 2\n")
    device = load_devices(path).get("two")
    assert device == LocalDevice(name="two", kind="local", threads=2)
    assert (device.runtime, device.effective_clock, device.cores) == ("onnxruntime", "wall", None)


def test_an_unknown_device_is_told_what_is_known(tmp_path: Path) -> None:
    path = write(tmp_path / "devices.yaml", "devices:\n  x86: {kind: local}\n  pi4: {kind: local}\n")
    with pytest.raises(DeviceError, match=r"^'pi5' is not in devices.yaml; known: pi4, x86$"):
        load_devices(path).get("pi5")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("devices:\n  a: {kind: local\n", r"d\.yaml:3:1: expected ',' or '}'"),
        ("devices:\n  a: {kind: local}\n  a: {kind: local}\n", r"d\.yaml:3:3: 'a' is given twice"),
        ("targets: {}\n", "one top-level key 'devices'"),
        ("", "one top-level key 'devices'"),
        ("devices: [a]\n", "devices: names with fields"),
        ("devices:\n  a: local\n", "devices.a: fields like 'kind: local'"),
        ("devices:\n  a: {}\n", "devices.a: kind is missing; known: local, ssh, simulated"),
        ("devices:\n  a: {kind: quantum}\n", "devices.a: kind 'quantum' is unknown; known: local, ssh, simulated"),
        ("devices:\n  a: {kind: [local]}\n", r"devices.a: kind \['local'\] is unknown; known: local, ssh, simulated"),
        ("devices:\n  a: {kind: local, description: 2026-13-45}\n", "month must be in 1..12"),
        (
            "devices:\n  a: {kind: local, thread: 2}\n",
            "devices.a: unknown key 'thread'; known: kind, .*threads",
        ),
        ("devices:\n  a: {kind: local, name: b}\n", "unknown key 'name'"),
        (
            "devices:\n  a: {kind: local, threads: 0}\n",
            r"devices.a.threads: .*greater than or equal to 1, not 0",
        ),
        ("devices:\n  a: {kind: local, threads: two}\n", r"devices.a.threads: .*integer, not 'two'"),
        (
            "devices:\n  a: {kind: local, threads: 2, clock: thread_cpu}\n",
            "time of one CPU thread; .*use wall",
        ),
        ("devices:\n  a: {kind: local, provider: cuda, clock: thread_cpu}\n", "time of one CPU thread"),
        ("devices:\n  a: {kind: local, cores: []}\n", "cores: a list of core numbers"),
        ("devices:\n  a: {kind: local, runtime: litert, provider: cuda}\n", "litert runs on the CPU only"),
        (
            "devices:\n  a: {kind: ssh, host: b, runtime: tvm, tvm_target: c, provider: cuda}\n",
            "use onnxruntime or torch",
        ),
        ("devices:\n  a: {kind: local, runtime: mnn}\n", "'onnxruntime', .* or 'torch', not 'mnn'"),
        ("devices:\n  'a b': {kind: local}\n", "a name has letters"),
        ("devices:\n  a: !!python/object:os.system {}\n", "could not determine a constructor"),
        ("devices:\n  ? [1]\n  : {kind: local}\n", r"d\.yaml:2:5: a name is expected here"),
        ("\0", "d.yaml"),
    ],
)
def test_what_is_wrong_is_one_line_with_file_and_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message) as caught:
        load_devices(write(tmp_path / "d.yaml", text))
    assert "d.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"cannot read .*nothing\.yaml: No such file"):
        load_devices(tmp_path / "nothing.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"devices:\n  \xff: 1\n")
    with pytest.raises(DeviceError, match="not a text file in UTF-8"):
        load_devices(tmp_path / "latin.yaml")


def test_gpu_is_marked_unproven() -> None:
    device = LocalDevice(name="gpu", kind="local", provider="cuda")
    assert device.effective_clock == "wall"
    assert "unproven" in device.note
    assert LocalDevice(name="a", kind="local").note == ""


def test_adding_keeps_what_is_there(tmp_path: Path) -> None:
    text = "# my boards\ndevices:\n    one:  # the first\n        kind: local\n    # the end"
    path = write(tmp_path / "d.yaml", text)
    device = add_device(path, "two", {"kind": "local", "threads": 2, "cores": [0, 1]})
    assert path.read_text().startswith(text)
    found = load_devices(path)
    assert list(found.by_name) == ["one", "two"]
    assert found.get("two") == device == LocalDevice(name="two", kind="local", threads=2, cores=(0, 1))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", [None, "devices:\n", "devices: # none yet\n"])
def test_adding_to_nothing(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "sub" / "d.yaml"
    if text is not None:
        path.parent.mkdir()
        path.write_text(text)
    add_device(path, "two", {"kind": "local", "threads": 2})
    assert yaml.safe_load(path.read_text()) == {"devices": {"two": {"kind": "local", "threads": 2}}}


@pytest.mark.parametrize(
    ("text", "name", "fields", "message"),
    [
        ("devices:\n  one: {kind: local}\n", "one", {"kind": "local"}, "'one' is in .* already"),
        ("devices:\n  one: {kind: local}\n", "two", {"kind": "local", "thread": 2}, "unknown key 'thread'"),
        ("devices: {one: {kind: local}}\n", "two", {"kind": "local"}, "by hand:\n.*two:"),
        ("devices:\n  one: {kind\n", "two", {"kind": "local"}, "d.yaml:"),
    ],
)
def test_a_refused_addition_leaves_the_file(
    tmp_path: Path, text: str, name: str, fields: dict[str, object], message: str
) -> None:
    path = write(tmp_path / "d.yaml", text)
    with pytest.raises(DeviceError, match=message):
        add_device(path, name, fields)
    assert path.read_text() == text


def test_adding_follows_a_link(tmp_path: Path) -> None:
    real = write(tmp_path / "real.yaml", "devices:\n")
    (tmp_path / "link.yaml").symlink_to(real)
    add_device(tmp_path / "link.yaml", "one", {"kind": "local"})
    assert (tmp_path / "link.yaml").is_symlink()
    assert list(load_devices(real).by_name) == ["one"]
