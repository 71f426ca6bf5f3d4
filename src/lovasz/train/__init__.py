"""Train segmentation networks and compare losses: what `lovasz train` and `lovasz compare` run.

Needs the packages of the extra ``train``; ``import lovasz`` never imports it.
"""
