"""What the frameworks are told before they are imported: no downloads, and Keras on torch."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("KERAS_BACKEND", "torch")
