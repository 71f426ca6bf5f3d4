"""Two devices, both implementations, and nothing where JAX is missing.

`make jax` (LOVASZ_JAX=1) runs all of it, with compiled kernels. `make test` has plain jax.numpy
alone, and time for two files.
"""

import importlib.util
import os
from pathlib import Path

import pytest

WHOLE = os.environ.get("LOVASZ_JAX") == "1"
FOR_ALL = ("test_oracle.py", "test_arguments.py")

if importlib.util.find_spec("jax") is None:
    collect_ignore_glob = ["*"]
else:
    if not WHOLE:
        files = (path.name for path in Path(__file__).parent.glob("test_*.py"))
        collect_ignore = [name for name in files if name not in FOR_ALL]

    # Before JAX looks for devices; a mesh needs more than one.
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

    from lovasz.jax import compiled, operators

    JITTED = (operators.histogram, operators._extend, operators.sort_and_extend, operators.backward)

    def forget():
        """What is compiled, and with it which implementation was chosen."""
        for function in JITTED:
            function.clear_cache()

    @pytest.fixture(scope="module", params=["compiled", "plain"] if WHOLE else ["plain"])
    def implementation(request):
        """The compiled kernels, and plain jax.numpy as on other devices."""
        with pytest.MonkeyPatch.context() as patch:
            if request.param == "plain":
                patch.setattr(compiled, "available", lambda: False)
            else:
                assert compiled.available()
            forget()
            yield request.param
        forget()

    if not WHOLE:

        @pytest.fixture(scope="session", autouse=True)
        def _plain():
            """Whether the kernels for JAX are there or not."""
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(compiled, "available", lambda: False)
                yield
