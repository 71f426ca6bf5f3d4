"""Keras fixes its backend when it is imported: `make keras` runs these tests once for each."""

import importlib.util
import os

BACKEND = os.environ.get("KERAS_BACKEND")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if BACKEND is None or not all(map(importlib.util.find_spec, ("keras", BACKEND))):
    collect_ignore_glob = ["*.py"]
elif BACKEND != "tensorflow":
    collect_ignore_glob = ["test_tensorflow*.py"]
