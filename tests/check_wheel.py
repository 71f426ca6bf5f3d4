"""Install each wheel in an empty environment without a compiler, and run a loss in it.

``python tests/check_wheel.py FOLDER...``: the environment sees first no torch, then that of the
running interpreter, not this package, and a PATH that holds nothing.
"""

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

WITHOUT_TORCH = """
import lovasz
from importlib.metadata import requires
assert {folder!r} in lovasz.__file__, lovasz.__file__
assert all("extra ==" in line for line in requires("lovasz")), requires("lovasz")
try:
    lovasz.lovasz_softmax
except ImportError as error:
    assert "pip install 'torch>=2.11'" in str(error), error
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


def check(wheel: Path, pure: bool) -> None:
    """One wheel in one environment."""
    inside = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    if strangers := {name for name in inside if name.partition("-")[0] != "lovasz"}:
        raise SystemExit(f"{wheel.name}: {', '.join(sorted(strangers))} should not be in it")
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=False)
        python = Path(folder) / "bin" / "python"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        packages = Path(folder) / "lib" / version / "site-packages"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        subprocess.run([*pip, "--target", str(packages), str(wheel)], check=True)
        _run(wheel, python, WITHOUT_TORCH.format(folder=folder))
        import torch

        (packages / "zz_torch.pth").write_text(str(Path(torch.__file__).parents[1]) + "\n")
        printed = _run(wheel, python, CODE.format(folder=folder))
        print(f"{wheel.name} ({wheel.stat().st_size // 1024} kB) {printed}")
        if pure != ("plain PyTorch" in printed):
            raise SystemExit(f"{wheel.name}: not the kernels that were expected")


def _run(wheel: Path, python: Path, code: str) -> str:
    """What the code prints in the environment."""
    environment = {"PATH": "/nonexistent", "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run(
        [str(python), "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{wheel.name}:\n{done.stderr}")
    return done.stdout.strip()


def main() -> None:
    """Every wheel of the folders named."""
    wheels = [wheel for folder in sys.argv[1:] for wheel in sorted(Path(folder).glob("*.whl"))]
    if not wheels:
        raise SystemExit("no wheels to check")
    for wheel in wheels:
        check(wheel, pure=wheel.name.endswith("-any.whl"))


if __name__ == "__main__":
    main()
