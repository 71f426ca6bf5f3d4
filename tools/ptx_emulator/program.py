"""The text of a kernel in PTX as instructions."""

from __future__ import annotations

import re
from functools import cached_property
from typing import NamedTuple


class Register(NamedTuple):
    """A register of every thread."""

    name: str


class Special(NamedTuple):
    """A register that the hardware sets, such as ``%tid.x``."""

    name: str


class Number(NamedTuple):
    """A constant: an integer, or the bits of a floating-point number."""

    value: int


class Symbol(NamedTuple):
    """A label, an array in shared memory, or a parameter."""

    name: str


class Address(NamedTuple):
    """``[base + offset]``, in bytes."""

    base: Register | Symbol
    offset: int


class Vector(NamedTuple):
    """Several operands in braces."""

    parts: tuple[Register | Number | None, ...]  # None is ``_``


Operand = Register | Special | Number | Symbol | Address | Vector


class Instruction(NamedTuple):
    """One instruction, with what guards it."""

    text: str
    parts: tuple[str, ...]  # the name and what follows its dots
    operands: tuple[Operand, ...]
    guard: str | None  # register of a predicate
    negated: bool

    @property
    def name(self) -> str:
        return self.parts[0]


class Program:
    """A kernel: its parameters, registers, shared memory and instructions."""

    def __init__(self, text: str):
        self.parameters: list[tuple[str, str]] = []  # types and names
        self.registers: dict[str, str] = {}  # their types
        self.shared: dict[str, int] = {}  # bytes of its arrays; 0 is what the launch asks for
        self.instructions: list[Instruction] = []
        self.labels: dict[str, int] = {}
        self._scopes: list[dict[str, str]] = [{}]  # names of ours to those of the whole
        head, body = _parts_of(text)
        for declaration in re.findall(r"\.extern \.shared [^;]*?(\w+)\[\];", head):
            self.shared[declaration] = 0
        for type_, name in re.findall(r"\.param \.(\w+)[^,)]*?\b(\w+)\s*[,)]", head + ")"):
            self.parameters.append((type_, name))
        for statement in _statements(body):
            self._take(statement)

    @cached_property
    def leaders(self) -> set[int]:
        """Where threads may come from elsewhere."""
        return set(self.labels.values())

    def _take(self, statement: str) -> None:
        if statement == "{":
            self._scopes.append({})
        elif statement == "}":
            self._scopes.pop()
        elif statement.endswith(":"):
            self.labels[self._own(statement[:-1])] = len(self.instructions)
        elif statement.startswith(".reg"):
            self._declare(*statement.split(None, 2)[1:])
        elif statement.startswith(".shared"):
            name, elements = re.search(r"(\w+)\[(\d+)\]$", statement).groups()
            size = int(re.search(r"\.[bsuf](\d+)\b", statement)[1]) // 8
            assert name not in self.shared, f"{name} twice"
            self.shared[name] = size * int(elements)
        elif not statement.startswith("."):
            self.instructions.append(self._instruction(statement))

    def _declare(self, type_: str, names: str) -> None:
        for name in names.split(","):
            stripped = name.strip()
            if many := re.fullmatch(r"(\S+)<(\d+)>", stripped):
                for index in range(int(many[2])):
                    self.registers[f"{many[1]}{index}"] = type_[1:]
            else:
                self.registers[self._own(stripped)] = type_[1:]

    def _own(self, name: str) -> str:
        """A name of the innermost scope as one that is nowhere else."""
        if len(self._scopes) == 1:
            return name
        number = len(self.instructions)
        return self._scopes[-1].setdefault(name, f"{name}@{number}")

    def _known(self, name: str) -> str:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return name

    def _instruction(self, statement: str) -> Instruction:
        guard = re.match(r"@(!?)([%\w]+)\s+", statement)
        rest = statement[guard.end() :] if guard else statement
        opcode, _, operands = rest.partition(" ")
        parts = tuple(part for part in re.split(r"\.|::", opcode) if part)
        found = re.findall(r"\[[^]]*\]|\{[^}]*\}|[^,\s]+", operands)
        if parts[0] == "bra":  # perhaps of a label that comes later
            taken = (Symbol(self._own(found[0]) if found[0][0] != "$" else found[0]),)
        else:
            taken = tuple(self._operand(operand) for operand in found)
        name = self._known(guard[2]) if guard else None
        return Instruction(statement, parts, taken, name, bool(guard and guard[1]))

    def _operand(self, text: str) -> Operand:
        if text[0] == "[":
            base, _, offset = text[1:-1].replace(" ", "").partition("+")
            return Address(self._operand(base), int(offset or 0))
        if text[0] == "{":
            parts = [part.strip() for part in text[1:-1].split(",")]
            return Vector(tuple(None if part == "_" else self._operand(part) for part in parts))
        if floating := re.fullmatch(r"0[fFdD]([0-9a-fA-F]+)", text):
            return Number(int(floating[1], 16))
        if re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)U?", text):
            return Number(int(text.removesuffix("U"), 0))
        name = self._known(text)
        if name in self.registers:
            return Register(name)
        return Special(name) if text[0] == "%" else Symbol(name)


def _parts_of(text: str) -> tuple[str, str]:
    """What comes before the instructions of the only kernel, and they, without comments."""
    bare = re.sub(r"//[^\n]*", "", text)
    bare = re.sub(r"^\s*\.(loc|file)\s[^\n]*$", "", bare, flags=re.MULTILINE)
    start = bare.index("\n{", bare.index(".entry"))
    return bare[:start], bare[start + 2 : bare.index("\n}", start)]


def _statements(body: str) -> list[str]:
    """Declarations, instructions, labels and braces of scopes."""
    pattern = r"([\w$]+:)|(\{)|(\})|([^\s;{}][^;]*);"
    return [
        " ".join(next(filter(None, found.groups())).split()) for found in re.finditer(pattern, body)
    ]
