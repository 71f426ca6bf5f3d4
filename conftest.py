"""What all tests share."""

import importlib.util
import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, settings

# What imports a framework that may be missing; tests/stacks imports it where it is there.
INTEGRATIONS = ("mmseg.py", "_mmseg_head.py", "mmdet3d.py", "pointcept.py", "nnunet*")
collect_ignore_glob = [f"src/lovasz/integrations/{name}" for name in INTEGRATIONS]
FRAMEWORKS = {
    "jax": ["jax/*"],
    "tensorflow": ["tensorflow/*", "compat/lovasz_losses_tf.py"],
    "keras": ["keras/*"],
}
# JAX may be there without compiled kernels for it: `make jax` has them.
HERE = {name for name in FRAMEWORKS if importlib.util.find_spec(name) is not None}
for framework, modules in FRAMEWORKS.items():
    if framework not in HERE or (framework == "jax" and os.environ.get("LOVASZ_JAX") != "1"):
        collect_ignore_glob += [f"src/lovasz/{module}" for module in modules]

# What is drawn is the same in every run, so that a failure belongs to the change that is tested.
# `pytest tests/test_any_input.py --hypothesis-profile=long` draws anew, for an hour.
COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}
settings.register_profile("short", max_examples=150, derandomize=True, **COMMON)
settings.register_profile("long", max_examples=20_000, **COMMON)
settings.load_profile("short")

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several processes share the cores: one thread each, and in the processes that tests start.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    """With LOVASZ_WARNINGS=error every warning that pyproject.toml does not name is an error.

    Not by default: another version of Python or of a package warns of other things.
    """
    if os.environ.get("LOVASZ_WARNINGS") == "error":
        config.getini("filterwarnings").insert(0, "error")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what takes long, such as processes that are started and killed, but in `make slow`."""
    if os.environ.get("LOVASZ_SLOW") != "1":
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="make slow runs it"))


@pytest.fixture(autouse=True)
def _alike() -> Iterator[None]:
    """Every test begins with the same random numbers, and leaves the number of threads alone."""
    torch.manual_seed(20180618)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def poison() -> Iterator[None]:
    """Fill new memory with NaN, or the largest integer, where otherwise it may hold zeros by luck.

    So torch does what a kernel that leaves a part of its result unwritten needs to be found out.
    """
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(before)
