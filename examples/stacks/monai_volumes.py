"""The loss on volumes with MONAI. Lines that differ from those with DiceCELoss are marked.

    python examples/stacks/monai_volumes.py

trains on crops of volumes, and looks at whole ones in sliding windows.
"""

import torch
from monai.data import DataLoader, Dataset, decollate_batch
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import UNet
from monai.transforms import AsDiscrete, Compose, EnsureTyped, RandSpatialCropd
from monai.utils import set_determinism

# was: from monai.losses import DiceCELoss
from lovasz import CrossEntropyLovaszSoftmaxLoss


def volumes(number=4, size=24):
    """Images (1, D, H, W), and labels of the same shape, as MONAI has them."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(number):
        image = torch.rand(1, size, size, size, generator=generator)
        image = torch.nn.functional.avg_pool3d(image, 5, 1, 2)
        yield {"image": image, "label": (image > 0.5).int() + (image > 0.55).int()}


def network():
    return UNet(spatial_dims=3, in_channels=1, out_channels=3, channels=(8, 16), strides=(2,))


def loader(number=4):
    keys = ("image", "label")
    crops = Compose([EnsureTyped(keys), RandSpatialCropd(keys, (16, 16, 16), random_size=False)])
    return DataLoader(Dataset(list(volumes(number)), crops), batch_size=2)


def train(epochs=2):
    set_determinism(0)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    # was: criterion = DiceCELoss(to_onehot_y=True, softmax=True)
    criterion = CrossEntropyLovaszSoftmaxLoss()
    losses = []
    for _ in range(epochs):
        for batch in loader():
            loss = criterion(model(batch["image"]), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return model, losses


@torch.no_grad()
def predict(model, images):
    logits = SlidingWindowInferer(roi_size=(16, 16, 16), overlap=0.25)(images, model.eval())
    return [AsDiscrete(argmax=True)(volume) for volume in decollate_batch(logits)]


if __name__ == "__main__":
    model, losses = train()
    labels = predict(model, torch.stack([volume["image"] for volume in volumes(1)]))
    print(f"loss {losses[-1]:.4f}, labels {tuple(labels[0].shape)}")
