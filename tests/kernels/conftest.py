"""Fixtures of the kernel tests."""

from collections.abc import Iterator

import pytest

from lovasz.kernels import operators
from lovasz.kernels.cpu import load

assert operators is not None  # defines torch.ops.lovasz


@pytest.fixture(params=["baseline", "v3", "v4"])
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction-set level that this processor has."""
    kernels = load()
    if kernels is None or not kernels.lovasz_choose_level(request.param.encode()):
        pytest.skip(f"no kernels of level {request.param} here")
    yield request.param
    kernels.lovasz_choose_level(b"best")


@pytest.fixture(autouse=True)
def _poisoned(poison: None) -> None:
    """Every kernel has to write all of its results."""
