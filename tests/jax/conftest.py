"""Two devices, both implementations, and nothing where JAX is missing."""

import importlib.util
import os

import pytest

if importlib.util.find_spec("jax") is None:
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

    @pytest.fixture(scope="module", params=["compiled", "plain"])
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
