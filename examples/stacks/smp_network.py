"""The loss for a network of segmentation-models-pytorch. Lines that differ are marked.

python examples/stacks/smp_network.py
"""

import segmentation_models_pytorch as smp
import torch

from lovasz import CrossEntropyLovaszSoftmaxLoss  # new


def data(number=2):
    images = torch.rand(number, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    target = (images.mean(1) * 6 - 1).long().clamp(0, 3)
    target[:, :2] = 255  # not labelled
    return images, target


def network():
    torch.manual_seed(0)
    # was: return smp.FPN("resnet18", encoder_weights=None, classes=4)
    return smp.FPN("resnet18", encoder_weights=None, classes=4, upsampling=1)


# was: criterion = smp.losses.LovaszLoss("multiclass", ignore_index=255)
criterion = CrossEntropyLovaszSoftmaxLoss(ignore_index=255, upsample="bilinear", align_corners=True)


def train(steps=2):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    images, target = data()
    for _ in range(steps):
        loss = criterion(model(images), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, loss.item()


if __name__ == "__main__":
    model, loss = train()
    print(f"loss {loss:.4f}")
