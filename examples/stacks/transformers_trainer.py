"""The loss for SegFormer with the Trainer. Lines that differ from its own loss are marked.

    python examples/stacks/transformers_trainer.py
    torchrun --nproc-per-node 2 examples/stacks/transformers_trainer.py

SegFormer's logits have a quarter of the resolution of the labels, and stay so. The network is a
tiny one that is not downloaded; ``SegformerForSemanticSegmentation.from_pretrained`` gives yours.
"""

import tempfile

import torch
from torch.utils.data import Dataset
from transformers import (
    SegformerConfig,
    SegformerForSemanticSegmentation,
    Trainer,
    TrainingArguments,
    set_seed,
)

import lovasz.integrations.transformers  # new


class Images(Dataset):
    def __init__(self, number=8):
        generator = torch.Generator().manual_seed(0)
        self.images = torch.rand(number, 3, 32, 32, generator=generator)
        self.labels = (self.images.mean(1) * 6 - 1).long().clamp(0, 3)
        self.labels[:, :2] = 255  # not labelled

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"pixel_values": self.images[index], "labels": self.labels[index]}


def network():
    set_seed(0)
    config = SegformerConfig(
        num_labels=4,
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 16, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        classifier_dropout_prob=0.0,
        drop_path_rate=0.0,
        semantic_loss_ignore_index=255,
    )
    return SegformerForSemanticSegmentation(config)


def trainer(images=None, **options):
    criterion = lovasz.CrossEntropyLovaszSoftmaxLoss(ignore_index=255, upsample="bilinear")  # new
    arguments = TrainingArguments(
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        **{"per_device_train_batch_size": 4, "num_train_epochs": 2, **options},
    )
    return Trainer(
        model=network(),
        args=arguments,
        train_dataset=images or Images(),
        compute_loss_func=lovasz.integrations.transformers.TrainerLoss(criterion),  # new
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = trainer(output_dir=folder).train()
    print(f"loss {found.training_loss:.4f}")
