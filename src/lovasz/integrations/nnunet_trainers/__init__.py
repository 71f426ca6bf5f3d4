"""The folder in which nnU-Net finds trainers by name, for its variable ``nnUNet_extTrainer``."""
