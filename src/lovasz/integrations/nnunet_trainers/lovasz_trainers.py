"""What nnU-Net imports, as a module of its own in this folder, where it looks for a trainer."""

from lovasz.integrations.nnunet import nnUNetTrainerDiceCEFused, nnUNetTrainerLovaszCE

__all__ = ["nnUNetTrainerDiceCEFused", "nnUNetTrainerLovaszCE"]
