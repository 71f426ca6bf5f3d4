"""Arguments of the losses: described once, with the same default wherever they are spelled."""

import inspect
import re
import sys

import pytest

import lovasz
from lovasz.core.options import CrossEntropy, Options

FUNCTIONS = [
    name for name in lovasz.__all__ if "lovasz_" in name or name.endswith(("_loss", "_dice"))
]
MODULES = [name for name in lovasz.__all__ if name.endswith("Loss")]
OTHERS = re.compile(r"[Aa]ll other arguments[a-z, ]* are those of `(\w+)`")
# What the fields of Options and CrossEntropy are called where there are two weights.
ARGUMENTS = {
    "factor": "cross_entropy_weight",
    "lovasz_factor": "lovasz_weight",
    "region_factor": "region_weight",
    "smoothing": "label_smoothing",
}


def parameters(name):
    """Arguments of a function or module of the package, without ``self``."""
    return inspect.signature(getattr(lovasz, name)).parameters


def described(name):
    """Arguments that the docstring describes."""
    document = inspect.getdoc(getattr(lovasz, name))
    section = document.split("\nArgs:\n", 1)[1].split("\n\n", 1)[0]
    return set(re.findall(r"^    (\w+): ", section, re.MULTILINE))


def elsewhere(name):
    """The function that describes all other arguments, or None."""
    words = " ".join(inspect.getdoc(getattr(lovasz, name)).split())
    named = OTHERS.search(words)
    return named and named[1]


@pytest.mark.parametrize("name", FUNCTIONS + MODULES)
def test_every_argument_is_described_once(name):
    assert described(name) <= parameters(name).keys()
    for argument, parameter in parameters(name).items():
        owner = name
        while argument not in described(owner):
            owner = elsewhere(owner)
            assert owner, f"{name}: nobody describes {argument}"
            other = parameters(owner).get(argument)
            assert other, f"{name}: {owner} has no {argument}"
            assert parameter.default == other.default, argument
            assert parameter.annotation == other.annotation, argument


def test_the_softmax_describes_all_of_its_own():
    assert elsewhere("lovasz_softmax") is None
    assert all(elsewhere(name) for name in FUNCTIONS + MODULES if name != "lovasz_softmax")


@pytest.mark.parametrize(
    ("options", "functions"),
    [
        # the second for multilabel alone, the third for what is added
        (Options, ["lovasz_softmax", "lovasz_sigmoid", "cross_entropy_lovasz_softmax"]),
        (CrossEntropy, ["cross_entropy_lovasz_softmax"]),
    ],
)
def test_options_have_the_defaults_of_arguments(options, functions):
    for option, default in options._field_defaults.items():
        argument = ARGUMENTS.get(option, option)
        owners = [name for name in functions if argument in parameters(name)]
        # A cross-entropy has options of its own.
        private = ("cross_entropy", "names")
        assert owners or option in private, f"{option} is an argument of no function"
        assert all(parameters(name)[argument].default == default for name in owners[:1]), option
    assert options._field_defaults.keys() == set(options._fields)


def arguments_of(options):
    """By the names of arguments, what these options were made of."""
    fields = options._asdict()
    added, names = fields.pop("cross_entropy"), fields.pop("names")
    for option, name in names._asdict().items():
        fields[name] = fields[option]
    fields["lovasz_weight"] = fields.pop("lovasz_factor")
    if added is not None:
        fields |= {ARGUMENTS.get(key, key): value for key, value in added._asdict().items()}
        fields["pos_weight"] = fields["weight"]
    return fields


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if parameters(n).keys() & {"set_function"}])
def test_every_argument_becomes_its_option(name, monkeypatch):
    function, calls = getattr(lovasz, name), []
    module = sys.modules[function.__module__]
    monkeypatch.setattr(module, "loss", lambda *arguments: calls.append(arguments))
    values = {argument: object() for argument in parameters(name)}
    if "activation" in values:
        values["activation"] = "elu"
    function(**values)
    ((called, link, scores, target, options, *_),) = calls
    assert called == name
    assert (link == "elu") == ("activation" in values)
    reached = arguments_of(options) | {"logits": scores, "probabilities": scores, "target": target}
    for argument, value in values.items():
        assert argument == "activation" or reached[argument] is value, argument
