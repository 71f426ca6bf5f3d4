"""Instructions whose result depends on registers of the same thread alone."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tools.ptx_emulator.program import Instruction, Operand, Register, Symbol, Vector
from tools.ptx_emulator.values import TYPES, Step, Threads, Values, reader, writer

#: what changes no result, or not beyond the last bit
IGNORED = {"rn", "approx", "full"}


def step_of(instruction: Instruction) -> Step | None:
    """How to execute an instruction, if it is one of these."""
    special = {"mov": _move, "cvt": _convert, "setp": _compare, "selp": _select}
    if instruction.name in special:
        return special[instruction.name](instruction)
    name, *rest = instruction.parts
    kinds = [part for part in rest if part not in IGNORED]
    if kinds[-1:] == ["f32x2"]:
        return _of_pairs(instruction)
    if kinds[0] == "f32" and kinds[-1] in ("bf16", "f16"):
        return _of_narrow(instruction, kinds[-1])
    flushed = "ftz" in kinds
    kinds = [part for part in kinds if part != "ftz"]
    *forms, type_ = kinds
    function = FUNCTIONS.get(".".join([name, *forms]))
    if function is None:
        return None
    result = {"wide": _doubled(type_)}.get(forms[0], type_) if forms else type_
    if name in ("popc", "clz"):
        result = "u32"
    last = result if name == "mad" else type_
    sources = instruction.operands[1:]
    types = [type_] * len(sources)
    if name in ("shl", "shr"):
        types[1] = "u32"
    elif name == "bfe":
        types[1:] = ["u32", "u32"]
    elif name == "mad":
        types[2] = last
    reads = [reader(operand, kind) for operand, kind in zip(sources, types, strict=True)]
    write = writer(instruction.operands[0], result)

    def step(state: Any, threads: Threads) -> None:
        values = [read(state, threads) for read in reads]
        if flushed:
            write(state, threads, _flush(function(*map(_flush, values))))
        else:
            write(state, threads, function(*values))

    return step


def _of_pairs(instruction: Instruction) -> Step:
    """The same for both numbers of a register of 64 bits."""
    function = FUNCTIONS[instruction.name]
    reads = [reader(operand, "b64") for operand in instruction.operands[1:]]
    write = writer(instruction.operands[0], "b64")

    def step(state: Any, threads: Threads) -> None:
        pairs = [np.atleast_1d(read(state, threads)).view(np.float32) for read in reads]
        numbers = function(*(pair.reshape(-1, 2) for pair in pairs))
        write(state, threads, numbers.view(np.uint64).ravel())

    return step


def _of_narrow(instruction: Instruction, type_: str) -> Step:
    """In float32, where all operands but the last have 16 bits."""
    function = FUNCTIONS[instruction.name]
    *narrow, last = instruction.operands[1:]
    reads, read_last = [reader(operand, type_) for operand in narrow], reader(last, "f32")
    write = writer(instruction.operands[0], "f32")

    def step(state: Any, threads: Threads) -> None:
        values = [_widened_float(read(state, threads), type_) for read in reads]
        write(state, threads, function(*values, read_last(state, threads)))

    return step


def _doubled(type_: str) -> str:
    return f"{type_[0]}{2 * int(type_[1:])}"


def _flush(x: Values) -> Values:
    """Without denormal numbers."""
    return np.where(np.abs(x) < np.finfo(x.dtype).tiny, np.copysign(x.dtype.type(0), x), x)


def _widened(x: Values) -> Values:
    return np.asarray(x).astype(np.dtype(f"{x.dtype.kind}{2 * x.dtype.itemsize}"))


def _high(x: Values, y: Values) -> Values:
    bits = 8 * x.dtype.itemsize
    if bits < 64:
        return (_widened(x) * _widened(y) >> bits).astype(x.dtype)
    return (np.asarray(x).astype(object) * np.asarray(y).astype(object) >> bits).astype(x.dtype)


def _divide(x: Values, y: Values) -> Values:
    if x.dtype.kind == "f":
        return x / y
    assert np.all(y != 0), "divided by 0"
    quotient = x // y
    return quotient + ((quotient < 0) & (quotient * y != x)).astype(x.dtype)


def _remainder(x: Values, y: Values) -> Values:
    return x - _divide(x, y) * y


def _fused(x: Values, y: Values, z: Values) -> Values:
    """Rounded once, but for rare cases: in the next wider format."""
    wide = np.float64 if x.dtype == np.float32 else np.longdouble
    return (x.astype(wide) * y.astype(wide) + z.astype(wide)).astype(x.dtype)


def _shifted(function: Callable[..., Values]) -> Callable[..., Values]:
    def shift(x: Values, by: Values) -> Values:
        bits = 8 * x.dtype.itemsize
        beyond = -1 if x.dtype.kind == "i" and function is np.right_shift else 0
        shifted = function(x, np.minimum(by, bits - 1).astype(x.dtype))
        return np.where(by < bits, shifted, (x < 0).astype(x.dtype) * beyond).astype(x.dtype)

    return shift


def _field(x: Values, start: Values, length: Values) -> Values:
    """Bits of a number from ``start`` on, with their sign if it has one."""
    bits = 8 * x.dtype.itemsize
    start, length = np.asarray(start, x.dtype), np.asarray(length, x.dtype)
    assert np.all((length > 0) & (start + length <= bits)), "a field beyond the register"
    return np.right_shift(np.left_shift(x, bits - start - length), bits - length)


def _permuted(x: Values, y: Values, selection: Values) -> Values:
    """Bytes of two numbers."""
    both = x.astype(np.uint64) | y.astype(np.uint64) << np.uint64(32)
    result = np.uint32(0)
    for place in range(4):
        chosen = (selection >> np.uint32(4 * place)) & np.uint32(15)
        byte = (both >> ((chosen & np.uint32(7)) * np.uint32(8)).astype(np.uint64)) & np.uint64(255)
        sign = np.where(byte >= 128, np.uint32(255), np.uint32(0))
        byte = np.where(chosen >= 8, sign, byte).astype(np.uint32)
        result = result | byte << np.uint32(8 * place)
    return result


FUNCTIONS: dict[str, Callable[..., Values]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "mul.lo": np.multiply,
    "mul.hi": _high,
    "mul.wide": lambda x, y: _widened(x) * _widened(y),
    "mad.lo": lambda x, y, z: x * y + z,
    "mad.wide": lambda x, y, z: _widened(x) * _widened(y) + z,
    "fma": _fused,
    "div": _divide,
    "rem": _remainder,
    "min": lambda *values: functools.reduce(np.fmin, values),  # NaN only if all are
    "max": lambda *values: functools.reduce(np.fmax, values),
    "abs": np.abs,
    "neg": np.negative,
    "sqrt": np.sqrt,
    "rcp": lambda x: 1 / x,
    "ex2": np.exp2,
    "lg2": np.log2,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.bitwise_not,
    "shl": _shifted(np.left_shift),
    "shr": _shifted(np.right_shift),
    "popc": lambda x: np.bitwise_count(x).astype(np.uint32),
    "bfe": _field,
    "prmt": _permuted,
}


def _move(instruction: Instruction) -> Step:
    target, source = instruction.operands
    type_ = instruction.parts[1]
    if isinstance(source, Symbol):
        name, write = source.name, writer(target, type_)
        return lambda state, threads: write(state, threads, state.address_of(name))
    if isinstance(target, Vector) or isinstance(source, Vector):
        return _pack(target, source, type_)
    read, write = reader(source, type_), writer(target, type_)
    return lambda state, threads: write(state, threads, read(state, threads))


def _pack(target: Operand, source: Operand, type_: str) -> Step:
    """Two registers of half the width into one, or the other way round."""
    half = f"b{int(type_[1:]) // 2}"
    if isinstance(source, Vector):
        low, high = (reader(part, half) for part in source.parts)
        write, wide = writer(target, type_), TYPES[type_]

        def pack(state: Any, threads: Threads) -> None:
            above = np.asarray(high(state, threads)).astype(wide) << wide.type(4 * wide.itemsize)
            write(state, threads, np.asarray(low(state, threads)).astype(wide) | above)

        return pack
    assert isinstance(target, Vector)
    read, writes = reader(source, type_), [writer(part, half) for part in target.parts]

    def unpack(state: Any, threads: Threads) -> None:
        values = read(state, threads)
        for index, write in enumerate(writes):
            shift = values.dtype.type(4 * values.dtype.itemsize * index)
            write(state, threads, (values >> shift).astype(TYPES[half]))

    return unpack


def _to_bfloat(x: Values) -> Values:
    """Bits of the nearest bfloat16, the even one of two."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return np.where(np.isnan(x), np.uint32(0x7FFF), rounded >> np.uint32(16)).astype(np.uint16)


def _widened_float(x: Values, type_: str) -> Values:
    """Numbers of 16 bits in float32."""
    if type_ == "bf16":
        return (np.asarray(x).astype(np.uint32) << np.uint32(16)).view(np.float32)
    return np.asarray(x).astype(np.float32)


def _rounded(x: Values, rounding: str, target: np.dtype) -> Values:
    """A whole number; as an integer NaN is 0, and what is too large the largest."""
    way = {"rzi": np.trunc, "rni": np.rint, "rmi": np.floor, "rpi": np.ceil}[rounding]
    if np.dtype(target).kind == "f":
        return way(x).astype(target)
    limits = np.iinfo(target)
    whole = way(np.where(np.isnan(x), 0, x).astype(np.longdouble))
    return np.clip(whole, limits.min, limits.max).astype(target)


def _convert(instruction: Instruction) -> Step:
    *forms, target, source = instruction.parts[1:]
    forms = [form for form in forms if form not in ("rn", "ftz")]
    if target.endswith("x2"):
        return _convert_two(instruction, target[:-2])
    read, write = reader(instruction.operands[1], source), writer(instruction.operands[0], target)
    dtype = TYPES[target]

    def step(state: Any, threads: Threads) -> None:
        values = read(state, threads)
        if source == "bf16":
            values = _widened_float(values, source)
        if target == "bf16":
            values = _to_bfloat(values)
        elif forms:
            (rounding,) = forms
            values = _rounded(values, rounding, dtype)
        write(state, threads, np.asarray(values).astype(dtype))

    return step


def _convert_two(instruction: Instruction, half: str) -> Step:
    """Two numbers into the halves of a register, the first into the upper one."""
    target, *sources = instruction.operands
    high, low = (reader(source, "f32") for source in sources)
    write = writer(target, "b32")

    def narrow(x: Values) -> Values:
        bits = _to_bfloat(x) if half == "bf16" else np.asarray(x).astype(np.float16)
        return bits.view(np.uint16).astype(np.uint32)

    def step(state: Any, threads: Threads) -> None:
        above = narrow(high(state, threads)) << np.uint32(16)
        write(state, threads, above | narrow(low(state, threads)))

    return step


COMPARISONS = {"eq": np.equal, "lt": np.less, "le": np.less_equal, "gt": np.greater}
COMPARISONS |= {"ge": np.greater_equal, "ne": np.not_equal}
COMBINATIONS = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}


def _compare(instruction: Instruction) -> Step:
    how, *forms, type_ = instruction.parts[1:]
    forms = [form for form in forms if form != "ftz"]
    target, *sources = instruction.operands
    reads = [reader(source, type_) for source in sources[:2]]
    combined = reader(sources[2], "pred") if forms else None
    write = writer(target, "pred")

    def step(state: Any, threads: Threads) -> None:
        x, y = (read(state, threads) for read in reads)
        unordered = np.isnan(x) | np.isnan(y) if type_[0] == "f" else np.False_
        if how in ("nan", "num"):
            result = unordered if how == "nan" else ~unordered
        elif how in COMPARISONS:
            result = COMPARISONS[how](x, y) & ~unordered
        else:
            result = COMPARISONS[how.removesuffix("u")](x, y) | unordered
        if combined is not None:
            result = COMBINATIONS[forms[0]](result, combined(state, threads))
        write(state, threads, result)

    return step


def _select(instruction: Instruction) -> Step:
    type_ = instruction.parts[1]
    target, yes, no, which = instruction.operands
    reads = reader(which, "pred"), reader(yes, type_), reader(no, type_)
    write = writer(target, type_)
    assert isinstance(which, Register)
    return lambda state, threads: write(
        state, threads, np.where(*(read(state, threads) for read in reads))
    )
