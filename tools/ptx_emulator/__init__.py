"""An emulator of PTX: it executes compiled kernels on processors, and watches them.

Triton's interpreter runs the source of a kernel, one program after another. What is compiled is
something else: threads that wait for each other at barriers, tables in shared memory, PTX of ours
between the compiler's. Here the compiled text is executed for all threads, and the first thing that
is no good on a device ends it: an address outside the tensors that the launch was given, one that
is not aligned, shared memory that nobody has written, two threads at the same place of which one
writes and no barrier in between, barriers and exchanges between lanes that not all lanes reach.

``program`` reads the text, ``arithmetic`` and ``lanes`` have the instructions of registers,
``memory`` has those of memory and its watch, ``execution`` runs a grid, and ``launching`` puts the
emulator in the place of a device.
"""
