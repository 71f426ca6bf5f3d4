"""What Triton's language does not offer, for NVIDIA devices: a table in the memory of a program.

The table is static shared memory, of which a program can have 48 KiB; Triton's own comes on top.
The addition of a constant 1 whose result nobody reads is compiled to ``ATOMS.POPC.INC``: lanes that
add to the same cell are counted at once, so that piling up costs nothing.

``add``, ``add_outside`` and ``add_alike`` must run once for each element, which holds where no
thread repeats the elements of another: the compile tests check it.
"""

from __future__ import annotations

import triton
import triton.language as tl

#: cells are cleared and read so many at a time
STEP = tl.constexpr(256)


@triton.jit
def new_table(CELLS: tl.constexpr):
    """Address of a table of CELLS, a multiple of STEP, with any content; once in a kernel."""
    asm: tl.constexpr = f"{{ .shared .align 16 .b32 table[{CELLS}]; mov.u32 $0, table; }}"
    return tl.inline_asm_elementwise(asm, "=r,r", [0], dtype=tl.int32, is_pure=False, pack=1)


@triton.jit
def clear(table, CELLS: tl.constexpr):
    """Set all cells to 0; waits for all threads before and after."""
    tl.debug_barrier()
    for first in range(0, CELLS, STEP):
        tl.inline_asm_elementwise(
            "st.shared.u32 [$1], 0; mov.u32 $0, 0;",
            "=r,r",
            [table + 4 * (first + tl.arange(0, STEP))],
            dtype=tl.int32,
            is_pure=False,
            pack=1,
        )
    tl.debug_barrier()


@triton.jit
def add(table, cell):
    """Add 1 to each of these cells."""
    tl.inline_asm_elementwise(
        "red.shared.add.u32 [$1], 1; mov.u32 $0, 0;",
        "=r,r",
        [table + 4 * cell],
        dtype=tl.int32,
        is_pure=False,
        pack=1,
    )


@triton.jit
def add_outside(row, index, FROM: tl.constexpr, SIZE: tl.constexpr):
    """Add 1 to the counters ``row[index]`` in global memory, of every index from FROM to SIZE.

    SIZE counts as SIZE - 1; there is nothing to add for an index of more. Four at a time, because
    mostly there is nothing at all: one branch skips them. And ``atomic_add`` would first carry
    addresses and masks to other threads.
    """
    width: tl.constexpr = row.dtype.element_ty.primitive_bitwidth
    asm: tl.constexpr = f"""{{
        .reg .pred a, b, c, d, any;
        .reg .b64 at;
        .reg .b32 cell;
        setp.ge.s32 a, $8, {FROM};
        setp.ge.s32 b, $9, {FROM};
        setp.ge.s32 c, $10, {FROM};
        setp.ge.s32 d, $11, {FROM};
        or.pred any, a, b;
        or.pred any, any, c;
        or.pred any, any, d;
        @!any bra none;
        setp.le.and.s32 a, $8, {SIZE}, a;
        min.s32 cell, $8, {SIZE - 1};
        mad.wide.s32 at, cell, {width // 8}, $4;
        @a red.relaxed.gpu.global.add.u{width} [at], 1;
        setp.le.and.s32 b, $9, {SIZE}, b;
        min.s32 cell, $9, {SIZE - 1};
        mad.wide.s32 at, cell, {width // 8}, $5;
        @b red.relaxed.gpu.global.add.u{width} [at], 1;
        setp.le.and.s32 c, $10, {SIZE}, c;
        min.s32 cell, $10, {SIZE - 1};
        mad.wide.s32 at, cell, {width // 8}, $6;
        @c red.relaxed.gpu.global.add.u{width} [at], 1;
        setp.le.and.s32 d, $11, {SIZE}, d;
        min.s32 cell, $11, {SIZE - 1};
        mad.wide.s32 at, cell, {width // 8}, $7;
        @d red.relaxed.gpu.global.add.u{width} [at], 1;
    none:
        mov.u32 $0, 0;
        mov.u32 $1, 0;
        mov.u32 $2, 0;
        mov.u32 $3, 0;
    }}"""
    tl.inline_asm_elementwise(
        asm, "=r,=r,=r,=r,l,l,l,l,r,r,r,r", [row, index], dtype=tl.int32, is_pure=False, pack=4
    )


@triton.jit
def add_alike(counter, valid):
    """Add 1 to each of these counters in global memory, those of a warp that are the same at once.

    Neighbouring pixels are often of one class, and their errors in one bin.
    """
    width: tl.constexpr = counter.dtype.element_ty.primitive_bitwidth
    asm: tl.constexpr = f"""{{
        .reg .pred first;
        .reg .b32 same, below;
        .reg .b{width} number;
        match.any.sync.b64 same, $1, 0xffffffff;
        mov.u32 below, %lanemask_lt;
        and.b32 below, below, same;
        setp.eq.u32 first, below, 0;
        setp.ne.and.u64 first, $1, 0, first;
        popc.b32 same, same;
        {"mov.u32" if width == 32 else "cvt.u64.u32"} number, same;
        @first red.relaxed.gpu.global.add.u{width} [$1], number;
        mov.u32 $0, 0;
    }}"""
    address = tl.where(valid, counter.to(tl.int64), 0)
    tl.inline_asm_elementwise(asm, "=r,l", [address], dtype=tl.int32, is_pure=False, pack=1)


@triton.jit
def settle():
    """Wait until all threads have added."""
    tl.debug_barrier()


@triton.jit
def read(table, first):
    """STEP cells from ``first`` on, after ``settle``."""
    return tl.inline_asm_elementwise(
        "ld.shared.u32 $0, [$1];",
        "=r,r",
        [table + 4 * (first + tl.arange(0, STEP))],
        dtype=tl.int32,
        is_pure=False,
        pack=1,
    )


@triton.jit
def exp2(x):
    """2 to the power of x, 0 where that would be denormal: one instruction in place of four."""
    return tl.inline_asm_elementwise(
        "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
    )


@triton.jit
def floor(x):
    """The integer below a number that is not negative; 0 for NaN, 2^31 - 1 if it is too large."""
    return tl.inline_asm_elementwise(
        "cvt.rzi.s32.f32 $0, $1;", "=r,f", [x], dtype=tl.int32, is_pure=True, pack=1
    )
