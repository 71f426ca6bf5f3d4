"""Install each wheel in an empty environment without a compiler, and run a loss in it.

``python tests/check_wheel.py FOLDER...``: the environment sees first no torch, then that of the
running interpreter, not this package, and a PATH that holds nothing. Where the interpreter has JAX,
a loss of ``lovasz.jax`` runs before there is torch. The images of landcover come with a wheel of
their own; the source distribution says what to do where there is no compiler.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from importlib.machinery import PathFinder
from pathlib import Path

WITHOUT_TORCH = """
import lovasz
from importlib.metadata import requires
assert {folder!r} in lovasz.__file__, lovasz.__file__
assert all("extra ==" in line for line in requires("lovasz")), requires("lovasz")
try:
    lovasz.lovasz_softmax
except ImportError as error:
    assert "pip install 'torch>=2.10'" in str(error), error
else:
    raise AssertionError("this environment should have no torch")
"""

CODE = """
import warnings, torch, lovasz
from lovasz.kernels import cpu
assert {folder!r} in lovasz.__file__, lovasz.__file__
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    logits = torch.randn(2, 5, 64, 64, requires_grad=True)
    lovasz.lovasz_softmax(logits, torch.randint(5, (2, 64, 64))).backward()
level = cpu.level()
assert (level is None) == any("no compiled kernels" in str(w.message) for w in caught)
print("runs with", level or "plain PyTorch, and says so")
"""

JAX = """
import sys, warnings
sys.modules["torch"] = None
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import jax, jax.numpy as jnp
    from lovasz.jax import library, lovasz_softmax
    assert {folder!r} in library.__file__, library.__file__
    value = jax.grad(lovasz_softmax)(jnp.ones((64, 5)), jnp.zeros(64, jnp.int32))
assert library.available() != any("no compiled kernels" in str(w.message) for w in caught)
print("in JAX with", "the kernels" if library.available() else "plain jax.numpy, and says so")
"""

IMAGES = """
import lovasz
from lovasz.train.data.landcover import load_landcover
from lovasz.train.errors import UserError
assert {folder!r} in lovasz.__file__, lovasz.__file__
try:
    print(sum(len(part) for part in load_landcover().parts.values()), "images")
except UserError as error:
    print(error)
"""

MISSING = (
    "data: expected the images of landcover, which come apart from this package: install them"
    " (pip install lovasz-landcover), or name a folder of your own images"
)
LARGEST = 2_000_000  # bytes of a wheel; the images would add 3 MB


class Environment:
    """An empty environment in a folder."""

    def __init__(self, folder: str) -> None:
        venv.create(folder, with_pip=False)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.folder, self.packages = folder, Path(folder) / "lib" / version / "site-packages"

    def install(self, wheel: Path) -> None:
        """Install a wheel, and nothing else."""
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        subprocess.run([*pip, "--target", str(self.packages), str(wheel)], check=True)

    def see(self, name: str) -> bool:
        """Look for packages where the running interpreter has one, if it has."""
        # Not beside this file, where the tests for JAX are in a folder of that name.
        places = [place for place in sys.path if Path(place).resolve() != Path(__file__).parent]
        spec = PathFinder.find_spec(name, places)
        if spec is None or spec.origin is None:
            return False
        folder = Path(spec.origin).parents[1]
        (self.packages / f"zz_{name}.pth").write_text(f"{folder}\n")
        return True

    def run(self, code: str) -> str:
        """What the code prints."""
        done = subprocess.run(
            [str(Path(self.folder) / "bin" / "python"), "-c", code.format(folder=self.folder)],
            env={"PATH": "/nonexistent", "HOME": os.environ.get("HOME", "/")},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{code}\n{done.stderr}")
        return done.stdout.strip()


def check(wheel: Path, pure: bool, images: Path) -> None:
    """One wheel in one environment."""
    inside = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    if strangers := {name for name in inside if name.partition("-")[0] != "lovasz"}:
        raise SystemExit(f"{wheel.name}: {', '.join(sorted(strangers))} should not be in it")
    if wheel.stat().st_size > LARGEST:
        raise SystemExit(f"{wheel.name}: expected at most {LARGEST} bytes")
    if sys.platform == "linux" and not pure and "-manylinux_" not in wheel.name:
        raise SystemExit(f"{wheel.name}: expected a wheel that auditwheel has repaired")
    with tempfile.TemporaryDirectory() as folder:
        environment = Environment(folder)
        environment.install(wheel)
        environment.run(WITHOUT_TORCH)
        if environment.see("jax") and environment.see("numpy"):
            print(f"{wheel.name} runs", environment.run(JAX))
        environment.see("torch")
        printed = environment.run(CODE)
        print(f"{wheel.name} ({wheel.stat().st_size // 1024} kB) {printed}")
        if pure != ("plain PyTorch" in printed):
            raise SystemExit(f"{wheel.name}: not the kernels that were expected")
        if (printed := environment.run(IMAGES)) != MISSING:
            raise SystemExit(f"{wheel.name}: expected the sentence on landcover, got {printed}")
        with zipfile.ZipFile(images) as files:  # as pip does, beside the files of the other wheel
            files.extractall(environment.packages)
        if (printed := environment.run(IMAGES)) != "493 images":
            raise SystemExit(f"{images.name}: expected 493 images, got {printed}")


def check_source(source: Path) -> None:
    """Without a compiler the source distribution cannot be built, and says what to do."""
    with tarfile.open(source) as archive:
        images = [name for name in archive.getnames() if name.endswith("/blue_marble.jpg")]
    if len(images) != 1:
        raise SystemExit(f"{source.name}: expected the images once, got {images}")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, str(source)],
            env={**os.environ, "CXX": "/nonexistent/c++"},
            capture_output=True,
            text=True,
            check=False,
        )
    words = " ".join((done.stdout + done.stderr).split())
    if done.returncode == 0 or "no C++ compiler was found. Install one, or put LOV" not in words:
        raise SystemExit(f"{source.name}: expected a sentence on the compiler, got {words[-3000:]}")
    print(f"{source.name} ({source.stat().st_size // 1024} kB) says what to do without a compiler")


def main() -> None:
    """Every wheel of the folders named."""
    files = [file for folder in sys.argv[1:] for file in sorted(Path(folder).iterdir())]
    wheels = [file for file in files if file.suffix == ".whl"]
    images = [wheel for wheel in wheels if wheel.name.startswith("lovasz_landcover-")]
    wheels = [wheel for wheel in wheels if wheel not in images]
    if not wheels or len(images) != 1:
        raise SystemExit("expected wheels to check, and that of the images")
    for wheel in wheels:
        check(wheel, wheel.name.endswith("-any.whl"), images[0])
    for source in files:
        if source.name.startswith("lovasz-") and source.suffix == ".gz":
            check_source(source)


if __name__ == "__main__":
    main()
