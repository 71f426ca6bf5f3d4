"""The code on the pages about frameworks runs where its frameworks are installed."""

import importlib.util
import os
import re

import pytest
import torch

from tests.stacks.examples import ROOT, changes

PACKAGES = {
    "lightning": ["lightning"],
    "monai": ["monai"],
    "transformers": ["transformers"],
    "smp": ["segmentation_models_pytorch", "torchvision"],
    "torchgeo": ["torchgeo"],
}
CODE = [
    pytest.param(name, code, id=f"{name}-{number}")
    for name in PACKAGES
    for number, code in enumerate(
        re.findall(r"```python\n(.*?)```", (ROOT / f"docs/stacks/{name}.md").read_text(), re.S)
    )
]


def names(page):
    """What the pages call the outputs of a network, and its labels."""
    found = {
        "logits": torch.randn(2, 19, 8, 8, requires_grad=True),
        "quarter_logits": torch.randn(2, 19, 2, 2),
        "target": torch.randint(0, 19, (2, 8, 8)),
        "scores": torch.randn(2, 1, 8, 8, requires_grad=True),
        "mask": torch.randint(0, 2, (2, 8, 8)),
        "volume_logits": torch.randn(2, 4, 4, 4, 4, requires_grad=True),
        "volume_labels": torch.randint(0, 4, (2, 4, 4, 4)),
        "volume_masks": torch.randint(0, 2, (2, 4, 4, 4, 4)),
    }
    if page == "lightning":
        import lightning

        options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        found["trainer"] = lightning.Trainer(accelerator="cpu", **options)
        images, target = torch.rand(4, 3, 8, 8), torch.randint(0, 4, (4, 8, 8))
        data = torch.utils.data.TensorDataset(images, target)
        found["loader"] = torch.utils.data.DataLoader(data, batch_size=2)
    return found


@pytest.mark.parametrize(("page", "code"), CODE)
def test_code_runs(page, code):
    if not all(map(importlib.util.find_spec, PACKAGES[page])) or "LOVASZ_STACKS" not in os.environ:
        pytest.skip("make stacks runs it")
    found = names(page)
    exec(code, found)
    if "loss" in found:
        found["loss"].backward()
    if page == "lightning":
        assert set(found["trainer"].callback_metrics) == {"val_loss", "val_iou"}
    if page == "transformers":
        assert found["predicted"].shape == (2, 8, 8)


@pytest.mark.parametrize("page", PACKAGES)
def test_examples_of_the_pages_exist(page):
    """What mkdocs puts in place of the names of files."""
    text = (ROOT / f"docs/stacks/{page}.md").read_text()
    shown = re.findall(r'--8<-- "(.*?)"', text)
    assert shown
    for path in shown:
        lines, _ = changes((ROOT / path).read_text())
        assert lines
