"""The losses that users call, as functions and as modules."""
