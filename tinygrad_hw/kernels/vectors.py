"""Words of LLVM's own language for kernels whose inner loops its vectorizer would not find: vectors of 16 float32.

Addresses are 64-bit integers; ``builder`` is llvmlite's, standing where the instructions go.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir

AVAILABLE = bool(binding.get_host_cpu_features().get("avx512f"))
LANES = 16
BYTES = 4  # of a number

FLOAT, INT, LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)
VECTOR, BITS = ir.VectorType(FLOAT, LANES), ir.VectorType(ir.IntType(1), LANES)
ZEROS = ir.Constant(VECTOR, [0.0] * LANES)


def constant(value: int) -> Any:
    return ir.Constant(LONG, value)


def call(builder: Any, name: str, result: Any, arguments: list[Any], **options: Any) -> Any:
    """Call one of LLVM's own functions."""
    known = builder.module.globals.get(name)
    if known is None:
        known = ir.Function(builder.module, ir.FunctionType(result, [value.type for value in arguments]), name)
    return builder.call(known, arguments, **options)


def pointer(builder: Any, address: Any, kind: Any = VECTOR) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def load(builder: Any, address: Any, kind: Any = VECTOR) -> Any:
    value = builder.load(pointer(builder, address, kind))
    value.align = 1
    return value


def store(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, pointer(builder, address, value.type)).align = 1


def masked_load(builder: Any, address: Any, mask: Any) -> Any:
    arguments = [pointer(builder, address), ir.Constant(INT, 1), mask, ZEROS]
    return call(builder, f"llvm.masked.load.v{LANES}f32.p0", VECTOR, arguments)


def masked_store(builder: Any, value: Any, address: Any, mask: Any) -> None:
    arguments = [value, pointer(builder, address), ir.Constant(INT, 1), mask]
    call(builder, f"llvm.masked.store.v{LANES}f32.p0", ir.VoidType(), arguments)


def shuffle(builder: Any, x: Any, y: Any, places: list[int]) -> Any:
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(INT, len(places)), places))


def spread(builder: Any, number: Any) -> Any:
    """A vector of one number."""
    empty = ir.Constant(ir.VectorType(number.type, LANES), ir.Undefined)
    return shuffle(builder, builder.insert_element(empty, number, ir.Constant(INT, 0)), empty, [0] * LANES)


def first_lanes(builder: Any, count: Any) -> Any:
    """The mask of the first ``count`` lanes."""
    lanes = ir.Constant(ir.VectorType(LONG, LANES), list(range(LANES)))
    return builder.icmp_signed("<", lanes, spread(builder, count))


def row_addresses(builder: Any, count: int, present: Any, start: Any, stride: Any) -> list[Any]:
    """The addresses of ``count`` rows, of which the last ``present`` one stands for those that follow it."""
    last = builder.sub(present, constant(1))
    chosen = [builder.select(builder.icmp_signed("<", constant(i), last), constant(i), last) for i in range(count)]
    return [builder.add(start, builder.mul(i, stride)) for i in chosen]


def multiply_add(builder: Any, x: Any, y: Any, z: Any) -> Any:
    return call(builder, f"llvm.fma.v{LANES}f32", VECTOR, [x, y, z])


def aside(builder: Any, address: Any, v: int) -> Any:
    return builder.add(address, constant(v * LANES * BYTES))


class Loop:
    """The blocks before, within and after a loop, and its variables."""

    def __init__(self, builder: Any) -> None:
        self.builder, self.before = builder, builder.block
        self.body, self.after = builder.append_basic_block("depth"), builder.append_basic_block("after")

    def enter(self) -> None:
        self.builder.position_at_end(self.body)

    def variable(self, start: Any) -> Any:
        phi = self.builder.phi(start.type)
        phi.add_incoming(start, self.before)
        return phi

    def advance(self, variable: Any, new: Any) -> Any:
        variable.add_incoming(new, self.builder.block)
        return new

    def leave(self, again: Any) -> None:
        self.builder.cbranch(again, self.body, self.after)
        self.builder.position_at_end(self.after)


def lane_sums(builder: Any, vectors: list[Any]) -> Any:
    """The sums of the lanes of four vectors, as a vector of four."""
    even = [i + shift for i in range(0, LANES, 4) for shift in (0, LANES, 2, LANES + 2)]
    ab, cd = (  # a0 b0 a2 b2 + a1 b1 a3 b3, by fours
        builder.fadd(shuffle(builder, x, y, even), shuffle(builder, x, y, [i + 1 for i in even]))
        for x, y in (vectors[:2], vectors[2:])
    )
    low = [i + shift for i in range(0, LANES, 4) for shift in (0, 1, LANES, LANES + 1)]
    total = builder.fadd(shuffle(builder, ab, cd, low), shuffle(builder, ab, cd, [i + 2 for i in low]))
    for half in (LANES // 2, LANES // 4):
        lower, upper = (shuffle(builder, total, total, list(range(start, start + half))) for start in (0, half))
        total = builder.fadd(lower, upper)
    return total
