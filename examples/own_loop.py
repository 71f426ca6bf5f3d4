"""The loss in a training loop of your own, on the embedded satellite images.

    python examples/own_loop.py [EPOCHS]

Needs ``pip install '.[train]'`` in the checkout, for the images alone. Five epochs, the
default, take less than a minute on two cores.
"""

import sys

import torch
from torch import nn

from lovasz import CrossEntropyLovaszSoftmaxLoss, upsampled_argmax
from lovasz.train.data.landcover import load_landcover

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
torch.manual_seed(0)
data = load_landcover()
train, val = data.parts["train"], data.parts["val"]
classes = len(data.classes)

network = nn.Sequential(
    nn.Conv2d(3, 32, 5, stride=2, padding=2),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Conv2d(32, 64, 5, stride=2, padding=2),
    nn.BatchNorm2d(64),
    nn.ReLU(),
    nn.Conv2d(64, classes, 3, padding=1),  # logits of a quarter of the resolution of the labels
)
criterion = CrossEntropyLovaszSoftmaxLoss(ignore_index=255, upsample="bilinear")
optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)


def batch(part, indices):
    images, labels = zip(*(part[i] for i in indices), strict=True)
    return torch.stack(images).float() / 255 - 0.5, torch.stack(labels)  # labels stay uint8


for epoch in range(epochs):
    network.train()
    total = 0.0
    for indices in torch.randperm(len(train)).split(8):
        images, labels = batch(train, indices.tolist())
        loss = criterion(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(images)
    print(f"epoch {epoch + 1}: loss {total / len(train):.3f}")

network.eval()
with torch.no_grad():
    images, labels = batch(val, range(len(val)))
    predicted = upsampled_argmax(network(images), labels.shape[1:])
intersection = torch.stack([((predicted == c) & (labels == c)).sum() for c in range(classes)])
union = torch.stack([((predicted == c) | (labels == c)).sum() for c in range(classes)])
present = torch.stack([(labels == c).any() for c in range(classes)])
print(f"mIoU on the validation part: {(intersection / union)[present].mean():.3f}")
