"""The structure that CONTRIBUTING describes: who may import whom, and how long a file may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lovasz

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "lovasz"
FILES = sorted(SOURCE.rglob("*.py"))

# What a folder beside the package must not import; the longest prefix of a file counts.
STRANGERS = {
    "src": {"tests", "benchmarks", "tools"},
    "examples": {"tests", "benchmarks", "tools"},
    "tests": {"benchmarks"},
    "benchmarks": {"tests"},
    "tools": {"tests", "benchmarks"},
    "tools/ptx_emulator/tests": {"benchmarks"},  # they run the interpreter's tests again
}

# From the ground up; a module imports only from floors below its own. Modules of one floor are
# strangers to each other.
FLOORS = [
    ["core.set_functions", "core.links", "core.native", "core.upsampling"],
    ["core.known_results", "core.contents"],
    ["core.compiled"],
    ["core.regions"],
    ["core.options", "core.shapes", "core.extension"],
    ["core.bins"],
    ["core"],
    ["kernels.precision", "kernels.fixed_point", "kernels.batching"],
    ["kernels.contents"],
    ["kernels.segments", "kernels.clouds", "kernels.contract", "kernels.upsampling"],
    ["kernels.soft"],
    ["kernels.pixels", "kernels.sorting"],
    ["kernels.cross_entropy"],
    ["kernels.reference"],
    ["kernels.triton.ptx", "kernels.triton.availability", "kernels.triton.blocks"],
    ["kernels.triton.inputs", "kernels.triton.formulas", "kernels.triton.axes"],
    [
        "kernels.triton.tiles",
        "kernels.triton.extension",
        "kernels.triton.reduction",
        "kernels.triton.soft_labels",
    ],
    [
        "kernels.triton.lse_and_positives",
        "kernels.triton.histogram_registers",
        "kernels.triton.histogram_weighted",
        "kernels.triton.histogram_multilabel",
        "kernels.triton.histogram_soft",
        "kernels.triton.backward_unrolled",
        "kernels.triton.backward_multilabel",
        "kernels.triton.backward_soft",
        "kernels.triton.keys",
        "kernels.triton.upsampling",
    ],
    [
        "kernels.triton.shrinking",
        "kernels.triton.histogram_shared",
        "kernels.triton.backward_softmax",
        "kernels.triton.scan_soft",
    ],
    ["kernels.triton.histograms", "kernels.triton.gradient"],
    ["kernels.triton.sorting", "kernels.triton.soft"],
    ["kernels.triton.chunks"],
    ["kernels.cpu_library"],
    ["kernels.cpu", "kernels.triton", "kernels.autograd"],
    ["kernels.verdicts", "kernels.comparison", "kernels.small_inputs"],
    ["kernels.self_test"],
    ["kernels.operators"],
    ["kernels.passes"],
    ["kernels"],
    ["losses._subclasses", "losses._tracing"],
    ["losses.window", "losses.distributed", "losses.schedules", "losses._classes"],
    [
        "losses._logits",
        "losses._ignored_masks",
        "losses._segments",
        "losses._pool",
        "losses._upsampling",
        "losses._labels",
        "losses._regions",
    ],
    ["losses._first_calls"],
    ["losses._inputs", "losses._averaging"],
    ["losses._loss"],
    ["losses._by_sums", "losses._module"],
    ["losses.softmax", "losses.sigmoid", "losses.hinge", "losses.regions"],
    ["losses.modules", "losses.region_modules", "losses.cross_entropy_dice"],
    ["losses.deep_supervision"],
    ["losses"],
    ["predictions"],
    ["decisions._scores", "decisions._reading"],
    ["decisions._sample", "decisions._offsets"],
    ["decisions._thresholds"],
    ["decisions.decision", "decisions.images"],
    ["decisions.fit"],
    ["decisions"],
    ["metrics.reading"],
    ["metrics.counting"],
    ["metrics.base"],
    ["metrics.scores"],
    ["metrics.iou"],
    ["metrics"],
    ["data.label_counts", "data.labels"],
    ["data.class_weights", "data.samplers"],
    ["data"],
    ["tensorflow.arrays", "tensorflow.inputs"],
    ["tensorflow.counting", "tensorflow.cross_entropy"],
    ["tensorflow._loss"],
    ["tensorflow.softmax", "tensorflow.sigmoid", "tensorflow.hinge"],
    ["tensorflow"],
    ["compat._shared", "compat._files"],
    ["compat._openmmlab"],
    [
        "compat.catalyst",
        "compat.kornia",
        "compat.lovasz_losses",
        "compat.lovasz_losses_tf",
        "compat.mmdet3d",
        "compat.mmseg",
        "compat.monai",
        "compat.paddleseg",
        "compat.pointcept",
        "compat.smp",
        "compat.toolbelt",
    ],
    ["compat"],
    ["integrations._registry"],
    ["integrations._openmmlab"],
    ["integrations._mmseg_head"],
    ["integrations.mmseg", "integrations.mmdet3d", "integrations.pointcept", "integrations.nnunet"],
    ["integrations.nnunet_trainers"],
    ["integrations.transformers"],
    ["integrations"],
    ["jax.precision", "jax.library"],
    ["jax.reading", "jax.floats", "jax.window", "jax.varying"],
    ["jax.pixels", "jax.contents", "jax.inputs"],
    ["jax.cross_entropy"],
    ["jax.counting"],
    ["jax.sorting"],
    ["jax.compiled"],
    ["jax.operators"],
    ["jax._loss"],
    ["jax.softmax", "jax.sigmoid", "jax.hinge"],
    ["jax"],
    ["keras.on_torch", "keras.on_jax", "keras.on_tensorflow"],
    ["keras.functions", "keras.options"],
    ["keras.labels"],
    ["keras.base"],
    ["keras.losses", "keras.mixtures", "keras.metrics"],
    ["keras"],
    [""],
    ["train"],
]
# Libraries of tensors, none of which the core may know.
TENSORS = {"torch", "numpy", "jax", "tensorflow", "keras", "triton"}


# What may be imported by those who use the package as others do.
PUBLIC = {"lovasz", "lovasz.__version__", "lovasz.metrics", "lovasz.compat"}
PUBLIC |= {f"lovasz.{name}" for name in lovasz.__all__}
USERS = [*(ROOT / "examples").glob("*.py"), *(SOURCE / "train").rglob("*.py")]


def module_of(path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def floor_of(module):
    """Floor of the longest listed prefix of a module."""
    names = {name: level for level, floor in enumerate(FLOORS) for name in floor}
    parts = module.split(".") if module else []
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in names:
            return names[".".join(parts[:end])]
    assert not parts, f"{module} stands on no floor: add it to FLOORS"
    return names[""]


def names_of(path):
    """Full names of what a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of(path):
    known = {module_of(file) for file in FILES}
    for name in names_of(path):
        if name == "lovasz" or name.startswith("lovasz."):
            inner = name.removeprefix("lovasz").removeprefix(".")
            yield inner if inner in known else inner.rpartition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_go_down(path):
    module = module_of(path)
    for imported in imports_of(path):
        inside = imported.split(".")[0] == module.split(".")[0] == "train"
        assert inside or floor_of(imported) < floor_of(module), f"{module} imports {imported}"


@pytest.mark.parametrize("folder", STRANGERS)
def test_folders_are_strangers(folder):
    """Tests and benchmarks do not import each other; what both need is in ``tools``."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        if folder == max((name for name in STRANGERS if file.startswith(f"{name}/")), key=len):
            found = {name.split(".")[0] for name in names_of(path)}
            assert not found & STRANGERS[folder], file


@pytest.mark.parametrize("path", sorted((SOURCE / "core").glob("*.py")), ids=module_of)
def test_the_core_knows_no_library_of_tensors(path):
    assert not {name.split(".")[0] for name in names_of(path)} & TENSORS


@pytest.mark.parametrize("path", USERS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_trainer_and_examples_use_what_is_public(path):
    """The trainer is a program on top of the package; an example takes its images from it."""
    for name in names_of(path):
        if name == "lovasz" or name.startswith("lovasz."):
            public = name in PUBLIC or name.rpartition(".")[0] in PUBLIC - {"lovasz"}
            assert public or name.startswith("lovasz.train"), name


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_files_and_functions_are_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 500  # one thought a file; this is an alarm
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[0]
            documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            start = first.end_lineno if documented else node.lineno
            assert node.end_lineno - start <= 60, node.name


def test_the_loss_needs_torch_alone():
    code = (
        "import sys; import torch; before = set(sys.modules); from lovasz import *;"
        "print(sorted({m.split('.')[0] for m in set(sys.modules) - before}"
        " - set(sys.stdlib_module_names)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "['lovasz']"


def test_the_core_needs_no_library_of_tensors():
    modules = sorted(module_of(path) for path in (SOURCE / "core").glob("*.py"))
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'numpy']));"  # None: not found
        f"import {', '.join(f'lovasz.{module}' for module in modules)}"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
