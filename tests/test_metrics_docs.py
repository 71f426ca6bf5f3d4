"""The page on the metrics: its examples give what they show, and its names exist."""

import doctest
import re
from pathlib import Path

import lovasz.metrics

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
API = Path(__file__).parents[1] / "docs" / "api.md"


def test_examples_of_the_page():
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S))
    test = doctest.DocTestParser().get_doctest(code, {}, PAGE.name, str(PAGE), 0)
    assert len(test.examples) > 20
    result = doctest.DocTestRunner(verbose=False).run(test)
    assert result.failed == 0


def test_calls_of_the_page_can_be_made():
    """Every metric of ours in the tables, with 19 classes and values for the letters."""
    calls = re.findall(
        r"`((?:Dataset|Image|Class)(?:IoU|Score)\((?:C|1)[^`]*\))`", PAGE.read_text()
    )
    assert len(calls) > 25
    for call in calls:
        if "…" not in call:
            names = {"C": 19, "a": "macro", "t": 0.5, **vars(lovasz.metrics)}
            eval(call, names)


def test_every_metric_is_in_the_api_page():
    page = API.read_text()
    assert all(f"::: lovasz.metrics.{name}\n" in page for name in lovasz.metrics.__all__)
