"""Who computes, for PyTorch: operators, each in plain torch, in C++ and in Triton.

========================  ======================================================================
``operators``             schemas, and which implementation runs on which device
``autograd``              the gradient, which belongs to the operators
``reference``             plain torch: the specification, and the fallback of every device
``cpu``                   the same through the compiled library of ``csrc``
``triton``                the same for CUDA and ROCm
``passes``                what the losses call
========================  ======================================================================
"""
