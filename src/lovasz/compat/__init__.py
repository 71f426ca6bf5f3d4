"""Other libraries' Lovász losses under their own names, computed by this one.

Each module has the signatures of one of them, names, order and defaults, so that changing the
import is all that moving takes:

- `lovasz.compat.lovasz_losses`: the file of the paper's authors,
- `lovasz.compat.smp`: segmentation-models-pytorch,
- `lovasz.compat.mmseg`: mmsegmentation,
- `lovasz.compat.pointcept`: Pointcept.

Values are those that their documentation describes; where their code does something else, the
table in ``docs/migration.md`` says what changes. New code should use the losses themselves.
"""
