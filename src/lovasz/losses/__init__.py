"""The losses that users call, as functions and as modules; ``_loss`` is the algorithm of all."""
