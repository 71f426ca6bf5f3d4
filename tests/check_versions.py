"""Run tests under several versions of torch and Python, each in an environment of its own.

``python tests/check_versions.py --torches 2.10.0 newest --pythons 3.10 3.14 -- PYTEST ARGUMENTS``:
every torch with the running interpreter, and every other Python with the last torch named.
``newest`` is what pip takes when no version is named. A Python that is not on this machine is left
out, with a line that says so; a torch that does not install is an error.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = ["numpy", "hypothesis", "pytest", "pytest-xdist"]
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def interpreter(version: str) -> str | None:
    """A Python of this version that runs: in the PATH, or of pyenv."""
    if version == HERE:
        return sys.executable
    found = [shutil.which(f"python{version}")]
    found += map(str, (Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python"))
    for python in filter(None, found):
        done = subprocess.run([python, "-c", "import ensurepip"], capture_output=True, check=False)
        if done.returncode == 0:  # the name may be pyenv's, and stand for nothing
            return python
    return None


def pip(python: str, *words: str) -> str:
    """What pip prints."""
    command = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def newest(python: str) -> str:
    """The torch that pip takes when no version is named."""
    words = ("install", "--dry-run", "--ignore-installed", "--no-deps", "--report=-", "torch")
    (torch,) = json.loads(pip(python, *words))["install"]
    return str(torch["metadata"]["version"]).partition("+")[0]


def install(folder: Path, python: str, torch: str) -> str:
    """Make the environment, if it is not there already; its interpreter."""
    inside = str(folder / "bin" / "python")
    if not (folder / "complete").exists():
        subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
        pip(inside, "install", "--no-compile", f"torch=={torch}", *TESTS)
        (folder / "complete").touch()
    return inside


def environments(torches: list[str], pythons: list[str]) -> list[tuple[str, str, str]]:
    """Version of Python, its interpreter and version of torch of each environment."""
    versions = [newest(sys.executable) if torch == "newest" else torch for torch in torches]
    pairs = [(HERE, sys.executable, torch) for torch in dict.fromkeys(versions)]
    for version in pythons:
        python = interpreter(version)
        if python is None:
            print(f"Python {version}: left out, not on this machine", flush=True)
        elif version != HERE:
            pairs.append((version, python, versions[-1]))
    return pairs


def main() -> None:
    """Build one wheel, then install and test in every environment."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--torches", nargs="+", default=["newest"])
    parser.add_argument("--pythons", nargs="*", default=[])
    parser.add_argument("--wheel", help="by default one is built")
    parser.add_argument("--folder", type=Path, default=Path("build/versions"))
    parser.add_argument("--install-only", action="store_true", help="and leave the tests to later")
    parser.add_argument("--keep", action="store_true", help="the environments, gigabytes each")
    parser.add_argument("tests", nargs="*")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as built:
        wheel = words.wheel
        if wheel is None and not words.install_only:
            pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", built, ".")
            (wheel,) = map(str, Path(built).iterdir())
        for version, python, torch in environments(words.torches, words.pythons):
            name = f"torch {torch}, Python {version}"
            started = time.monotonic()
            folder = words.folder / f"torch-{torch}-python-{version}"
            inside = install(folder, python, torch)
            print(f"{name}: installed in {time.monotonic() - started:.0f} s", flush=True)
            if words.install_only:
                continue
            pip(inside, "install", "--no-deps", "--force-reinstall", wheel)
            # Warnings of other versions are theirs; threads would take each other's cores.
            command = [inside, "-m", "pytest", "--quiet", "-p", "no:cacheprovider"]
            command += ["--numprocesses", "auto", "--dist", "worksteal", *words.tests]
            done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
            if done.returncode != 0:
                raise SystemExit(f"{name}: failed")
            print(f"{name}: passed, {time.monotonic() - started:.0f} s in all", flush=True)
            if not words.keep:
                shutil.rmtree(folder)


if __name__ == "__main__":
    main()
