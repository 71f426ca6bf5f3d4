"""Which implementation runs, and what is said where it is not the kernels; no PyTorch at all."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from lovasz.core import compiled as kernels
from lovasz.core import native
from lovasz.jax import library, lovasz_softmax, operators
from tests.jax.conftest import forget


@pytest.fixture
def anew(monkeypatch):
    """As in a process that has loaded nothing."""
    caches = (library.available, library._register)
    for function in caches:
        function.cache_clear()
    forget()
    yield monkeypatch
    monkeypatch.undo()
    for function in caches:
        function.cache_clear()
    forget()


def loss():
    return float(lovasz_softmax(jnp.array([[2.0, 0.5], [0.1, 0.4]]), jnp.array([0, 1])))


def test_without_the_library_for_jax_one_warning_says_what_to_do(anew):
    want = loss()
    library.available.cache_clear()
    library._register.cache_clear()
    forget()
    anew.setattr(native, "installed", lambda name: None)
    message = r"no compiled kernels for JAX \(install.*jax.numpy"
    with pytest.warns(RuntimeWarning, match=message) as told:
        found = loss(), loss()
    assert len(told) == 1
    assert found == pytest.approx((want, want), abs=1e-6)


def test_a_library_that_cannot_be_loaded(anew, tmp_path):
    broken = tmp_path / "_jax_ffi.so"
    broken.write_bytes(b"no library")
    anew.setattr(native, "installed", lambda name: broken)
    with pytest.warns(RuntimeWarning, match="compiled kernels for JAX cannot be loaded"):
        loss()


def test_without_kernels_nothing_is_registered(anew):
    anew.setattr(kernels, "load", lambda: None)
    assert not library.available()


def test_the_program_for_the_cpu_calls_the_kernels_and_no_other_does():
    scores, labels = jnp.zeros((1, 6, 3)), jnp.zeros((1, 6), jnp.int32)
    forget()
    traced = jax.jit(jax.value_and_grad(lovasz_softmax)).trace(scores, labels)
    names = [f"lovasz_{name}" for name in ("histogram", "extend", "backward")]
    on_cpu = traced.lower(lowering_platforms=("cpu",)).as_text()
    assert all(f"@{name}(" in on_cpu for name in names)
    for platform in ("cuda", "tpu"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert not any(name in text for name in names)
        assert "scatter" in text
    assert operators.histogram  # compiled for each of them


WITHOUT_TORCH = """
import sys
# None: an import of it fails as where it is not installed
sys.modules["torch"] = None
import jax.numpy as jnp
import lovasz.jax as lovasz

print(float(lovasz.lovasz_softmax(jnp.zeros((4, 2)), jnp.array([0, 0, 1, 1]), method="sort")))
print(lovasz.lovasz_softmax(jnp.zeros((4, 2)), jnp.array([0, 0, 1, 1])) > 0)
"""


def run(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_nothing_needs_torch():
    assert run(WITHOUT_TORCH) == ["0.5", "True"]


WITHOUT_JAX = """
import sys
from types import SimpleNamespace

for jax in (None, SimpleNamespace(__version__="0.9.1")):
    sys.modules["jax"] = jax
    try:
        import lovasz.jax
    except ImportError as error:
        print(error)
"""


def test_without_jax_one_sentence_says_what_to_install():
    assert " ".join(run(WITHOUT_JAX)) == (
        "lovasz.jax: expected jax 0.10.2 or newer (pip install 'lovasz[jax]'), got: import of jax"
        " halted; None in sys.modules lovasz.jax: expected jax 0.10.2 or newer (pip install"
        " 'lovasz[jax]'), got 0.9.1"
    )
