"""What the emulator of PTX computes, and what it catches."""

import numpy as np
import pytest

from tools.ptx_emulator.execution import code_of, run
from tools.ptx_emulator.memory import Memory

HEAD = """
.version 8.7
.target sm_90a
.address_size 64
.extern .shared .align 16 .b8 global_smem[];
.visible .entry kernel(.param .u64 .ptr .global .align 1 kernel_param_0, .param .u32 kernel_param_1)
.reqntid 64
{
    .reg .pred %p<9>;
    .reg .b16 %rs<9>;
    .reg .b32 %r<99>;
    .reg .b64 %rd<9>;
    ld.param.b64 %rd0, [kernel_param_0];
    mov.u32 %r0, %tid.x;
    shl.b32 %r1, %r0, 2;          // the place of a thread
    mov.b32 %r2, global_smem;
    add.s32 %r2, %r2, %r1;
    cvt.u64.u32 %rd1, %r1;
    add.s64 %rd1, %rd0, %rd1;
"""
THREADS = 64


def execute(body, out, shared=4 * THREADS, programs=1):
    """Run a kernel of two warps whose argument is ``out``."""
    content = out.view(np.uint8)
    start = 1 << 20
    memory = Memory("out", content, known=True)
    code = code_of(HEAD + body + "\nret;\n}\n")
    return run(code, programs, THREADS // 32, [start, 7], [(start, memory)], shared)


def result_of(body, dtype="u4"):
    """What every thread leaves in %r9."""
    out = np.zeros(THREADS, np.uint32)
    execute(body + "st.global.b32 [%rd1], %r9;", out)
    return out.view(dtype)


LANES = np.arange(THREADS, dtype=np.int64)


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("sub.s32 %r9, 3, %r0;", 3 - LANES),
        ("mul.lo.s32 %r9, %r0, -2;", -2 * LANES),
        ("mul.hi.u32 %r9, %r0, 0x80000000;", LANES // 2),
        ("sub.s32 %r9, %r0, 9; div.s32 %r9, %r9, 4;", np.trunc((LANES - 9) / 4)),
        ("sub.s32 %r9, %r0, 9; rem.s32 %r9, %r9, 4;", np.fmod(LANES - 9, 4)),
        ("sub.s32 %r9, %r0, 9; shr.s32 %r9, %r9, 1;", (LANES - 9) >> 1),
        ("shl.b32 %r9, 1, %r0;", np.where(LANES < 32, 1 << LANES % 32, 0)),
        ("bfe.u32 %r9, %r0, 2, 3;", LANES >> 2 & 7),
        ("bfe.s32 %r9, %r0, 2, 1;", -(LANES >> 2 & 1)),
        ("prmt.b32 %r9, %r0, 0, 0x4440U;", LANES),
        ("popc.b32 %r9, %r0;", [int(lane).bit_count() for lane in LANES]),
        ("setp.lt.s32 %p1, %r0, 5; selp.b32 %r9, 1, 2, %p1;", np.where(LANES < 5, 1, 2)),
        (
            "setp.ge.s32 %p1, %r0, 5; setp.le.and.s32 %p2, %r0, 9, %p1; selp.b32 %r9, 1, 0, %p2;",
            (LANES >= 5) & (LANES <= 9),
        ),
        ("mov.b32 %r9, 0; setp.eq.b32 %p1, %r0, 3; @!%p1 mov.b32 %r9, 1;", LANES != 3),
        ("cvt.rn.f32.s32 %r9, %r0; mul.f32 %r9, %r9, 0f3F000000; cvt.rzi.s32.f32 %r9, %r9;",
         LANES // 2),
        # saturates; NaN is 0
        ("mov.b32 %r9, 0f7F800000; cvt.rzi.s32.f32 %r9, %r9;", LANES * 0 + 2**31 - 1),
        ("mov.b32 %r9, 0f7FC00000; cvt.rzi.s32.f32 %r9, %r9;", LANES * 0),
        # comparisons with NaN
        ("setp.neu.f32 %p1, 0f7FC00000, 0f00000000; selp.b32 %r9, 1, 0, %p1;", LANES * 0 + 1),
        ("setp.ne.f32 %p1, 0f7FC00000, 0f00000000; selp.b32 %r9, 1, 0, %p1;", LANES * 0),
        ("max.f32 %r9, 0f7FC00000, 0f3F800000;", LANES * 0 + 0x3F800000),
        # 1 + 2^-8 as bfloat16 is 1, the even one; 1 + 3 * 2^-8 is 1 + 2^-6
        ("cvt.rn.bf16x2.f32 %r9, 0f3F808000, 0f3F818000;", LANES * 0 + 0x3F803F82),
        ("cvt.rn.f16.f32 %rs1, 0f3F800000; cvt.u32.u16 %r9, %rs1;", LANES * 0 + 0x3C00),
        # denormal numbers are 0
        ("ex2.approx.ftz.f32 %r9, 0fC3020000;", LANES * 0),
        # what Blackwell has: two numbers at once, and operands of 16 bits
        ("cvt.rn.f32.s32 %r3, %r0; mov.b64 %rd2, {%r3, 0f40000000};"
         "add.rn.f32x2 %rd2, %rd2, %rd2; mov.b64 {%r4, %r5}, %rd2; add.f32 %r9, %r4, %r5;"
         "cvt.rzi.s32.f32 %r9, %r9;", 2 * LANES + 4),
        ("cvt.rn.f32.s32 %r3, %r0; cvt.rn.bf16.f32 %rs1, 0f40400000;"
         "sub.rn.f32.bf16 %r9, %rs1, %r3; cvt.rzi.s32.f32 %r9, %r9;", 3 - LANES),
        ("cvt.rn.f32.s32 %r3, %r0; max.f32 %r9, %r3, 0f40400000, 0f7FC00000;"
         "cvt.rzi.s32.f32 %r9, %r9;", np.maximum(LANES, 3)),
        ("shfl.sync.bfly.b32 %r9, %r0, 5, 31, -1;", LANES ^ 5),
        ("shfl.sync.up.b32 %r9, %r0, 4, 0, -1;", np.where(LANES % 32 < 4, LANES, LANES - 4)),
        ("shfl.sync.idx.b32 %r9, %r0, 3, 31, -1;", LANES // 32 * 32 + 3),
        ("setp.eq.b32 %p1, %r0, 34; vote.sync.ballot.b32 %r9, %p1, -1;", LANES // 32 * 4),
        ("shr.u32 %r3, %r0, 2; match.any.sync.b32 %r9, %r3, -1;", 15 << LANES % 32 // 4 * 4),
        ("mov.u32 %r9, %lanemask_lt;", (1 << LANES % 32) - 1),
        ("redux.sync.add.s32 %r9, %r0, -1;", np.where(LANES < 32, 496, 496 + 32 * 32)),
        ("cvt.u64.u32 %rd2, %r0; mov.b64 {_, %r9}, %rd2;", LANES * 0),
        ("{ .reg .b32 own; mov.b32 own, 3; mov.b32 %r9, own; }", LANES * 0 + 3),
        ("ld.param.b32 %r9, [kernel_param_1];", LANES * 0 + 7),
    ],
)  # fmt: skip
def test_instructions(body, wanted):
    assert np.array_equal(result_of(body, "i4"), np.asarray(wanted, np.int64).astype(np.int32))


def test_branches_loops_and_barriers():
    # the sum of what the others have stored, each thread as often as its number
    got = result_of("""
        mov.b32 %r9, 0;
        mov.b32 %r3, 0;
        st.shared.b32 [%r2], %r0;
        bar.sync 0;
        $again:
        setp.ge.u32 %p1, %r3, %r0;
        @%p1 bra $done;
        sub.s32 %r4, %r2, %r1;
        ld.shared.b32 %r5, [%r4+252];
        add.s32 %r9, %r9, %r5;
        add.s32 %r3, %r3, 1;
        bra.uni $again;
        $done:
        bar.sync 0;
    """)
    assert np.array_equal(got, 63 * LANES)


def test_additions_return_what_was_there():
    got = result_of("""
        st.shared.b32 [%r2], 0;
        bar.sync 0;
        and.b32 %r3, %r1, 4;
        mov.b32 %r4, global_smem;
        add.s32 %r4, %r4, %r3;
        atom.shared.add.u32 %r9, [%r4], 2;
    """)
    assert sorted(got[::2]) == sorted(got[1::2]) == list(range(0, THREADS, 2))


@pytest.mark.parametrize("transposed", ["", ".trans"])
def test_matrices_that_are_stored_are_loaded(transposed):
    out = np.zeros(THREADS, np.uint32)
    # rows of 8 numbers, written by their threads; a lane gets two neighbours of its row
    execute(
        f"""
        shl.b32 %r3, %r0, 4;
        mov.b32 %r4, global_smem;
        add.s32 %r4, %r4, %r3;
        mul.lo.s32 %r5, %r0, 0x80008;
        add.s32 %r10, %r5, 0x10000;
        add.s32 %r11, %r5, 0x30002;
        add.s32 %r12, %r5, 0x50004;
        add.s32 %r13, %r5, 0x70006;
        st.shared.v4.b32 [%r4], {{%r10, %r11, %r12, %r13}};
        bar.sync 0;
        ldmatrix.sync.aligned.m8n8.x4{transposed}.shared.b16 {{%r20, %r21, %r22, %r23}}, [%r4];
        bar.sync 0;
        stmatrix.sync.aligned.m8n8.x4{transposed}.shared.b16 [%r4], {{%r20, %r21, %r22, %r23}};
        bar.sync 0;
        ld.shared.v4.b32 {{%r30, %r31, %r32, %r33}}, [%r4];
        setp.eq.b32 %p1, %r30, %r10;
        setp.eq.and.b32 %p1, %r31, %r11, %p1;
        setp.eq.and.b32 %p1, %r32, %r12, %p1;
        setp.eq.and.b32 %p1, %r33, %r13, %p1;
        mov.b32 %r9, %r21;
        @%p1 st.global.b32 [%rd1], %r9;
        """,
        out,
        shared=16 * THREADS,
    )
    lane, warp = LANES % 32, LANES // 32
    first = 8 * (8 + lane // 4) + lane % 4 * 2  # of the second matrix
    second = first + 1
    if transposed:
        first = 8 * (8 + lane % 4 * 2) + lane // 4
        second = first + 8
    assert np.array_equal(out, first + 256 * warp | (second + 256 * warp) << 16)


# What is wrong, and what is said of it.
FAULTS = {
    "outside the tensors": "st.global.b32 [%rd1+4], %r0;",
    "no multiple of 4": "st.global.b32 [%rd1+2], %r0;",
    "no multiple of 8": "ld.global.v2.b32 {%r3, %r4}, [%rd1];",
    "outside shared memory": "st.shared.b32 [%r2+4], %r0;",
    "is read before it is written": "ld.shared.b32 %r3, [%r2];",
    "is read while thread": """
        st.shared.b32 [%r2], 0; xor.b32 %r3, %r2, 128; ld.shared.b32 %r4, [%r3];
    """,
    "is written while thread": """
        st.shared.b32 [%r2], 0; bar.sync 0;
        xor.b32 %r3, %r2, 128; ld.shared.b32 %r4, [%r3]; st.shared.b32 [%r2], 1;
    """,
    "is written at once": "st.global.b32 [%rd0], %r0;",
    "is added to while": """
        st.shared.b32 [%r2], 0; mov.b32 %r4, global_smem; red.shared.add.u32 [%r4], 1;
    """,
    "not all threads reach": "setp.lt.s32 %p1, %r0, 32; @%p1 bra $on; bar.sync 0; $on:",
    "lanes of a warp are elsewhere": """
        setp.lt.s32 %p1, %r0, 5; @%p1 bra $on; shfl.sync.bfly.b32 %r9, %r0, 1, 31, -1; $on:
    """,
}


@pytest.mark.parametrize(("message", "body"), FAULTS.items(), ids=FAULTS.keys())
def test_faults_are_caught(message, body):
    with pytest.raises(AssertionError, match=message):
        execute(body, np.zeros(THREADS, np.uint32))


def test_programs_do_not_wait_for_each_other():
    # the second program reads what the first has written
    body = """
        mov.u32 %r3, %ctaid.x;
        setp.eq.b32 %p1, %r3, 0;
        @%p1 st.global.b32 [%rd1], 1;
        bar.sync 0;
        @!%p1 ld.global.b32 %r4, [%rd1];
    """
    execute(body, np.zeros(THREADS, np.uint32))
    with pytest.raises(AssertionError, match="is read while"):
        execute(body, np.zeros(THREADS, np.uint32), programs=2)


def test_equal_values_may_be_written_at_once_and_additions_made():
    out = np.zeros(THREADS, np.uint32)
    execute("red.relaxed.gpu.global.add.u32 [%rd0+8], 1;", out, programs=3)
    execute("st.global.b32 [%rd0], 5;", out)
    assert out[:3].tolist() == [5, 0, 3 * THREADS]


def test_unknown_instructions_are_refused():
    with pytest.raises(NotImplementedError, match="tanh"):
        execute("tanh.approx.f32 %r9, %r0;", np.zeros(THREADS, np.uint32))
