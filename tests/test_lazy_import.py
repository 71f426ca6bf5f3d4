"""`import lovasz` loads no framework; the first use of a name does."""

import ast
import pickle
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import lovasz

INIT = Path(lovasz.__file__)


def run(code, *words):
    """What a new process prints."""
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_type_checkers_see_what_is_loaded():
    """The imports that type checkers read, the table and ``__all__`` say the same."""
    imports = {
        alias.asname or alias.name: node.module
        for node in ast.walk(ast.parse(INIT.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("lovasz.")
        for alias in node.names
    }
    assert imports == {name: f"lovasz.{module}" for name, module in lovasz._MODULES.items()}
    assert sorted(imports, key=lambda name: (name.islower(), name)) == lovasz.__all__


def test_every_name_is_found_where_it_is_defined():
    """So the table needs no module that only passes a name on."""
    for name, module in lovasz._MODULES.items():
        value = getattr(lovasz, name)
        if isinstance(value, type) or hasattr(value, "__code__"):
            assert value.__module__ == f"lovasz.{module}"


def test_the_import_loads_the_standard_library_alone():
    code = "import sys; before = set(sys.modules); import lovasz; print(*set(sys.modules) - before)"
    loaded = {module.partition(".")[0] for module in run(code).split()}
    assert loaded - set(sys.stdlib_module_names) == {"lovasz"}


def test_all_names_can_be_imported_at_once():
    code = "from lovasz import *; import lovasz; print(set(lovasz.__all__) - set(dir()))"
    assert run(code) == "set()"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'lovasz' has no attribute 'lovasz_sofmax'"):
        _ = lovasz.lovasz_sofmax


UNFIT_TORCH = """
import sys
from types import SimpleNamespace
# None: an import of it fails as where it is not installed
sys.modules["torch"] = SimpleNamespace(__version__=sys.argv[1]) if sys.argv[1] else None
import lovasz
assert "LovaszSoftmaxLoss" in dir(lovasz)
assert not hasattr(lovasz, "typo")
try:
    lovasz.LovaszSoftmaxLoss
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("version", "got"),
    [("", "got: import of torch halted; None in sys.modules"), ("2.9.1+cu128", "got 2.9.1+cu128")],
)
def test_without_torch_one_sentence_says_what_to_install(version, got):
    assert run(UNFIT_TORCH, version) == (
        "lovasz.LovaszSoftmaxLoss: expected torch 2.10 or newer (pip install 'torch>=2.10'), " + got
    )


FIRST_USE_UNDER_COMPILE = """
import sys, torch

def loss(logits, target):
    import lovasz

    return lovasz.lovasz_softmax(logits, target)

logits, target = torch.randn(2, 5, 8, 8), torch.randint(5, (2, 8, 8))
torch._dynamo.config.error_on_recompile = True
compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
assert "lovasz" not in sys.modules
values = compiled(logits, target), compiled(logits, target), loss(logits, target)
assert torch.equal(values[0], values[1])
torch.testing.assert_close(values[0], values[2])
"""


def test_the_first_use_may_be_in_a_compiled_function():
    run(FIRST_USE_UNDER_COMPILE)


def test_help_shows_what_the_names_are():
    text = pydoc.plain(pydoc.render_doc(lovasz))
    assert all(name in text for name in lovasz.__all__)
    assert "Lovász-Softmax loss of logits, as a module." in text


def test_modules_and_functions_can_be_pickled():
    criterion = pickle.loads(pickle.dumps(lovasz.LovaszSoftmaxLoss(bins=64)))
    assert criterion.bins == 64
    assert pickle.loads(pickle.dumps(lovasz.lovasz_softmax)) is lovasz.lovasz_softmax
