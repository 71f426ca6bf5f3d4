"""The loss in the Trainer: value, ignored labels, accumulation, bfloat16, and two processes."""

import pytest
import torch

from lovasz import CrossEntropyLovaszSoftmaxLoss
from lovasz.integrations.transformers import TrainerLoss
from tests.processes import start_processes
from tests.stacks.examples import free_port, of_labelled, require

require("transformers", "accelerate")

from tests.stacks import segformer  # noqa: E402 (imports transformers)


@pytest.fixture
def batch():
    images = segformer.example().Images(4)
    return {"pixel_values": images.images, "labels": images.labels}


def test_value_is_that_of_the_enlarged_logits(batch, tmp_path):
    trainer = segformer.example().trainer(output_dir=tmp_path)
    loss, outputs = trainer.compute_loss(trainer.model, dict(batch), return_outputs=True)
    assert outputs.logits.shape == (4, 4, 8, 8)
    enlarged = torch.nn.functional.interpolate(outputs.logits, (32, 32), mode="bilinear")
    want = of_labelled(enlarged, batch["labels"])
    got, expected = (
        torch.autograd.grad(value, outputs.logits, retain_graph=True)[0] for value in (loss, want)
    )
    torch.testing.assert_close(loss, want, rtol=1e-5, atol=0)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-6)


def test_a_batch_without_labels_changes_nothing(tmp_path):
    images = segformer.example().Images(4)
    images.labels[:] = 255
    trainer = segformer.trained(tmp_path, images, max_steps=1)
    assert trainer.state.log_history[-1]["train_loss"] == 0
    segformer.assert_same(trainer.model, segformer.example().network())


def test_bfloat16(batch, tmp_path):
    losses = []
    for bf16 in (False, True):
        trainer = segformer.example().trainer(output_dir=tmp_path, bf16=bf16)
        model = trainer.accelerator.prepare(trainer.model)
        losses.append(trainer.compute_loss(model, dict(batch)))
    assert losses[0] != losses[1]
    torch.testing.assert_close(*losses, rtol=2e-2, atol=0)


def test_evaluation_gives_the_mean_of_the_batches(tmp_path):
    trainer = segformer.example().trainer(output_dir=tmp_path, per_device_eval_batch_size=4)
    found = trainer.evaluate(segformer.example().Images(8))
    with torch.no_grad():
        model = trainer.model.eval()
        images = segformer.example().Images(8)
        losses = [
            trainer.compute_loss_func.criterion(
                model(images.images[part]).logits, images.labels[part]
            )
            for part in (slice(4), slice(4, 8))
        ]
    assert found["eval_loss"] == pytest.approx(sum(losses).item() / 2, rel=1e-5)


def test_accumulated_batches_are_averaged(tmp_path):
    """Two equal batches, accumulated, are a step as one of them is; a mean alone is twice that."""
    images = segformer.equal_images()
    want = segformer.trained(tmp_path, images).model
    options = {"gradient_accumulation_steps": 2}
    segformer.assert_same(segformer.trained(tmp_path, images, **options).model, want)
    criterion = CrossEntropyLovaszSoftmaxLoss(ignore_index=255, upsample="bilinear")

    def mean(outputs, labels, num_items_in_batch):
        return criterion(outputs.logits, labels)

    with pytest.raises(AssertionError):
        segformer.assert_same(segformer.trained(tmp_path, images, mean, **options).model, want)


def test_two_processes_train_as_one_does(tmp_path):
    images = segformer.equal_images()
    want = segformer.trained(tmp_path, images).model
    start_processes(segformer.run_rank, (2, str(tmp_path), free_port()), 2)
    for rank in range(2):
        found = segformer.example().network()
        found.load_state_dict(torch.load(tmp_path / f"{rank}.pt"))
        segformer.assert_same(found, want)


def test_a_model_without_logits():
    with pytest.raises(TypeError, match="'logits', got \\['loss'\\]"):
        TrainerLoss(lambda *_: None)({"loss": torch.zeros(())}, torch.zeros(1))
