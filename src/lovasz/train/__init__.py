"""Train segmentation networks and compare losses: what `lovasz train` and `lovasz compare` run.

Needs the extra packages of ``pip install 'lovasz[train]'``; ``import lovasz`` never imports it.
"""
