"""Two devices, and both implementations.

`make jax` (LOVASZ_JAX=1) runs all of it. In `make test` tests/test_jax.py runs some of it in plain
jax.numpy (LOVASZ_JAX=plain), in a process of its own: JAX does not bear forks.
"""

import os

import pytest

ASKED = os.environ.get("LOVASZ_JAX")

if ASKED is None:
    collect_ignore_glob = ["*"]
else:
    # Before JAX looks for devices; a mesh needs more than one.
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

    from lovasz.jax import compiled, operators

    JITTED = (operators.histogram, operators._extend, operators.sort_and_extend, operators.backward)

    def forget():
        """What is compiled, and with it which implementation was chosen."""
        for function in JITTED:
            function.clear_cache()

    @pytest.fixture(scope="module", params=["plain"] if ASKED == "plain" else ["compiled", "plain"])
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

    if ASKED == "plain":

        @pytest.fixture(scope="session", autouse=True)
        def _plain():
            """Whether the kernels for JAX are there or not."""
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(compiled, "available", lambda: False)
                yield
