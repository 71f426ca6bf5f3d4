"""Other libraries' Lovász losses under their own names, computed by this one.

Each module has the signatures of one of them, names, order and defaults, so that changing the
import is all that moving takes:

- `lovasz.compat.lovasz_losses`: the file of the paper's authors,
- `lovasz.compat.lovasz_losses_tf`: their file for TensorFlow,
- `lovasz.compat.smp`: segmentation-models-pytorch,
- `lovasz.compat.mmseg`, `lovasz.compat.mmdet3d`: mmsegmentation, mmdetection3d,
- `lovasz.compat.pointcept`: Pointcept,
- `lovasz.compat.kornia`: kornia,
- `lovasz.compat.toolbelt`: pytorch-toolbelt,
- `lovasz.compat.catalyst`: Catalyst,
- `lovasz.compat.paddleseg`: PaddleSeg, for PyTorch,
- `lovasz.compat.monai`: what a Lovász loss of MONAI would look like.

Values are those that their documentation describes; where their code does something else, the
table in ``docs/migration.md`` says what changes. New code should use the losses themselves.
"""
