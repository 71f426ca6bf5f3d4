"""Looking for examples in modules would import them, and give torch the device."""

collect_ignore = ["cases.py", "device.py"]
