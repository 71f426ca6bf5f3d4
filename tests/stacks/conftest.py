"""What the frameworks are told before they are imported: no downloads."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
