"""The Lovász-Softmax loss for PyTorch."""

__version__ = "0.1.0"
