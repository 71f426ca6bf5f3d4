"""The operators on the CPU, by the compiled kernels through XLA's interface of foreign functions."""

def can_read(scores): return False
def can_extend(counts, dtype): return False
def can_sort(scores): return False
