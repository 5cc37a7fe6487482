"""Debian's package lists and packages through the machine's apt, in private folders, without root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import DataError

TIMEOUT_S = 1200
_LANGUAGES = re.compile(r'(?:Acquire::)?Languages\s*(?:"[^"]*"|\{[^}]*\})\s*;')
_HELPERS = (Path("/usr/lib/apt/apt-helper"), Path("/usr/libexec/apt/apt-helper"))


@dataclass(frozen=True, slots=True)
class Package:
    """A package as apt would download it."""

    name: str
    file_name: str
    size_bytes: int


class PrivateApt:
    """The machine's apt sources and settings, with lists and downloads of its own below ``folder``.

    The system's lists, caches and hooks are left alone. ``languages`` are those of the package
    descriptions to fetch, such as ``("en", "de")``.
    """

    def __init__(self, folder: Path, languages: Sequence[str]) -> None:
        for tool in ("apt-get", "apt-config", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise DataError(
                    f"{tool} is not on this machine: the Debian corpus needs a Debian or Ubuntu system;"
                    " elsewhere use your own files: hwnas data parallel"
                )
        self._folder = folder.resolve()
        self._languages = tuple(languages)

    def update(self) -> None:
        """Fetch the lists, unless a finished update is there already.

        Raises:
            DataError: apt failed; its last line is in the message.
        """
        done = self._folder / "lists" / f"updated-{'-'.join(self._languages)}"
        if not done.exists():
            with self._environment() as environment:
                _run(["apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any"], environment)
            done.touch()

    def translations(self, language: str) -> Iterator[str]:
        """Lines of all package description lists in ``language``; none where the sources have none.

        Raises:
            DataError: apt failed.
        """
        helper = next((path for path in _HELPERS if path.exists()), None)
        if helper is None:
            raise DataError("apt-helper is not on this machine; it is part of the package apt")
        with self._environment() as environment:
            template = "$(LANGUAGE) $(FILENAME)"
            listed = _run(["apt-get", "indextargets", "--format", template, "Created-By: Translations"], environment)
            files = [line.split(" ", 1)[1] for line in listed.splitlines() if line.startswith(f"{language} ")]
            for file in sorted(files):
                yield from _run([str(helper), "cat-file", file], environment).splitlines()

    def find(self, names: Sequence[str]) -> Mapping[str, Package]:
        """Those of ``names`` that the sources have, by the name asked for.

        A name is a regular expression (``gcc-[0-9]+-locales``); of several matches the one with the
        highest number is taken.

        Raises:
            DataError: apt failed.
        """
        found = {}
        with self._environment() as environment:
            known = _run(["apt-cache", "pkgnames"], environment).split()
            for pattern in names:
                matches = sorted((name for name in known if re.fullmatch(pattern, name)), key=_numbers)
                if not matches:
                    continue
                line = _run(["apt-get", "download", "--print-uris", "-qq", matches[-1]], environment)
                fields = line.split()
                if len(fields) >= 3:
                    found[pattern] = Package(matches[-1], fields[1], int(fields[2]))
        return found

    def download(self, package: Package) -> Path:
        """The package's file; one that is there in full is not fetched again.

        Raises:
            DataError: apt failed.
        """
        packages = self._folder / "packages"
        packages.mkdir(parents=True, exist_ok=True)
        file = packages / package.file_name
        if not file.exists() or file.stat().st_size != package.size_bytes:
            file.unlink(missing_ok=True)
            with self._environment() as environment:
                # As root apt would hand the download to a user who may not enter this folder.
                command = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", package.name]
                _run(command, environment, cwd=packages, way_out=f"run again, or first remove {self._folder}")
        if not file.exists():
            raise DataError(f"apt brought no {package.file_name}; remove {self._folder} and run again")
        return file

    @contextmanager
    def _environment(self) -> Iterator[dict[str, str]]:
        """Environment variables that make apt use the private folders; its configuration lives as long."""
        for name in ("lists/partial", "cache/archives/partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            parts = Path(scratch) / "parts"
            parts.mkdir()
            for number, file in enumerate(_configuration_files()):
                try:
                    text = file.read_text(encoding="utf-8", errors="replace")
                except PermissionError:
                    continue
                # A part that sets the languages (container images have one) wins over later ones.
                (parts / f"{number:03}").write_text(_LANGUAGES.sub("", text), encoding="utf-8")
            languages = " ".join(f'"{language}";' for language in self._languages)
            (parts / "999").write_text(
                "#clear APT::Update::Pre-Invoke;\n#clear APT::Update::Post-Invoke;\n"
                "#clear APT::Update::Post-Invoke-Success;\n#clear Acquire::Languages;\n"
                f"Acquire::Languages {{{languages}}};\n",
                encoding="utf-8",
            )
            configuration = Path(scratch) / "apt.conf"
            configuration.write_text(
                f'Dir::Etc::parts "{parts}";\nDir::Etc::main "/dev/null";\n'
                f'Dir::State::lists "{self._folder}/lists";\nDir::Cache "{self._folder}/cache";\n',
                encoding="utf-8",
            )
            yield {**os.environ, "APT_CONFIG": str(configuration), "LC_ALL": "C.UTF-8"}


def package_files(package: Path, pattern: str) -> Iterator[tuple[str, bytes]]:
    """``(path, content)`` of the files in a .deb whose path the regular expression matches in full.

    Raises:
        DataError: the package is damaged.
    """
    wanted = re.compile(pattern)
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as unpack:
        try:
            with tarfile.open(fileobj=unpack.stdout, mode="r|") as archive:
                for member in archive:
                    name = member.name.removeprefix("./")
                    if member.isfile() and wanted.fullmatch(name):
                        stream = archive.extractfile(member)
                        if stream is not None:
                            yield name, stream.read()
        except tarfile.TarError as exc:
            raise DataError(f"the package {package} is damaged ({exc}); remove it and run again") from exc


def _configuration_files() -> list[Path]:
    """The machine's own apt configuration, in the order apt reads it."""
    shell = _run(["apt-config", "shell", "PARTS", "Dir::Etc::parts/d", "MAIN", "Dir::Etc::main/f"], None)
    places = dict(re.findall(r"^(\w+)='(.*)'$", shell, re.MULTILINE))
    parts, main = Path(places.get("PARTS", "")), Path(places.get("MAIN", ""))
    names = r"[\w-]+(?:\.conf)?"
    files = sorted(file for file in parts.iterdir() if re.fullmatch(names, file.name)) if parts.is_dir() else []
    return [*files, main] if main.is_file() else files


def _run(
    command: Sequence[str],
    environment: Mapping[str, str] | None,
    *,
    cwd: Path | None = None,
    way_out: str = "check apt and the network, and run again",
) -> str:
    """Standard output of a command; DataError with its last line where it fails."""
    name = " ".join(command[:2])
    try:
        done = subprocess.run(command, env=environment, cwd=cwd, check=True, capture_output=True, timeout=TIMEOUT_S)
    except subprocess.CalledProcessError as exc:
        lines = exc.stderr.decode(errors="replace").strip().splitlines() or [f"exit {exc.returncode}"]
        raise DataError(f"{name} failed ({lines[-1]}); {way_out}") from exc
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise DataError(f"{name} failed ({exc}); {way_out}") from exc
    return done.stdout.decode("utf-8", errors="replace")


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]
