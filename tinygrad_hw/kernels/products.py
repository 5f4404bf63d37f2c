"""Matrix products in float32 on processors with AVX-512, compiled by Numba.

OpenBLAS does not know every processor, takes kernels that are half as wide for those, and waits long for its threads
where a product is small. Here the inner loops are put together in LLVM's own language, since its vectorizer does not
find their blocking: 24 vectors of 16 sums stay in registers, and every step of the depth makes 24 multiply-adds out of
at most 11 loads. :func:`_tile` takes b by rows, packed so that 64 columns stay in the first cache (Goto & van de Geijn
2008, "Anatomy of high-performance matrix multiplication"); :func:`_dots` takes both operands along the depth as they
are. Rows that a block lacks are its last one again, columns that it lacks are masked: no loop over what is left over.

An entry is summed in one order however many threads there are, so their number does not change a bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from tinygrad_hw.backend import Array
from tinygrad_hw.kernels.pool import compiled, kernel, pool, prepare, run, settings

LANES, ROWS, WIDE = 16, 6, 4  # `_tile`: 6 rows of 4 vectors
COLUMNS = LANES * WIDE
LEFT, RIGHT = 3, 8  # `_dots`: 3 rows of the left, 8 of the right operand
_BYTES = 4
DEPTH, BREADTH = 128, 8 * COLUMNS  # of b packed at a time: 256 KiB, in the second cache
_KEPT = 2**16  # entries of the left operand of `_dots` in the second cache
_SHARED = 2**19  # multiply-adds from which threads are worth waking
_EACH = 4  # parts for each thread, so that one that comes late finds some left
_ROOM = _BYTES * DEPTH * BREADTH  # of each thread

_float, _int, _long = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_vector, _bits = ir.VectorType(_float, LANES), ir.VectorType(ir.IntType(1), LANES)
_ZEROS = ir.Constant(_vector, [0.0] * LANES)


def _number(value: int) -> Any:
    return ir.Constant(_long, value)


def _call(builder: Any, name: str, result: Any, arguments: list[Any], **options: Any) -> Any:
    """Call one of LLVM's own functions."""
    known = builder.module.globals.get(name)
    if known is None:
        known = ir.Function(builder.module, ir.FunctionType(result, [value.type for value in arguments]), name)
    return builder.call(known, arguments, **options)


def _pointer(builder: Any, address: Any, kind: Any = _vector) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _load(builder: Any, address: Any, kind: Any = _vector) -> Any:
    value = builder.load(_pointer(builder, address, kind))
    value.align = 1
    return value


def _store(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, _pointer(builder, address, value.type)).align = 1


def _masked_load(builder: Any, address: Any, mask: Any) -> Any:
    arguments = [_pointer(builder, address), ir.Constant(_int, 1), mask, _ZEROS]
    return _call(builder, f"llvm.masked.load.v{LANES}f32.p0", _vector, arguments)


def _masked_store(builder: Any, value: Any, address: Any, mask: Any) -> None:
    arguments = [value, _pointer(builder, address), ir.Constant(_int, 1), mask]
    _call(builder, f"llvm.masked.store.v{LANES}f32.p0", ir.VoidType(), arguments)


def _shuffle(builder: Any, x: Any, y: Any, places: list[int]) -> Any:
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_int, len(places)), places))


def _spread(builder: Any, number: Any) -> Any:
    """A vector of one number."""
    empty = ir.Constant(ir.VectorType(number.type, LANES), ir.Undefined)
    return _shuffle(builder, builder.insert_element(empty, number, ir.Constant(_int, 0)), empty, [0] * LANES)


def _first(builder: Any, count: Any) -> Any:
    """The mask of the first ``count`` lanes."""
    lanes = ir.Constant(ir.VectorType(_long, LANES), list(range(LANES)))
    return builder.icmp_signed("<", lanes, _spread(builder, count))


def _masks(builder: Any, columns: Any) -> list[Any]:
    return [_first(builder, builder.sub(columns, _number(v * LANES))) for v in range(WIDE)]


def _rows(builder: Any, count: int, present: Any, start: Any, stride: Any) -> list[Any]:
    """The addresses of ``count`` rows, of which the last ``present`` one stands for those that follow it."""
    last = builder.sub(present, _number(1))
    chosen = [builder.select(builder.icmp_signed("<", _number(i), last), _number(i), last) for i in range(count)]
    return [builder.add(start, builder.mul(i, stride)) for i in chosen]


def _multiply_add(builder: Any, x: Any, y: Any, z: Any) -> Any:
    return _call(builder, f"llvm.fma.v{LANES}f32", _vector, [x, y, z])


def _aside(builder: Any, address: Any, v: int) -> Any:
    return builder.add(address, _number(v * LANES * _BYTES))


class _Loop:
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


@intrinsic
def _tile(
    context: Any,
    a: Any,
    a_row: Any,
    a_step: Any,
    b: Any,
    c: Any,
    c_row: Any,
    depth: Any,
    rows: Any,
    cols: Any,
    new: Any,
) -> Any:
    """c[r, j] = Σ_k a[r, k] b[k, j] for up to 6 rows and 64 columns; added to what is there unless ``new``.

    b is packed: 64 columns follow each other, then those of the next step.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, a_row, a_step, b, c, c_row, depth, rows, cols, new = arguments
        lefts, targets = (_rows(builder, ROWS, rows, start, row) for start, row in ((a, a_row), (c, c_row)))
        masks = _masks(builder, cols)
        loop = _Loop(builder)
        builder.branch(loop.body)
        loop.enter()
        offset, right, left_over = loop.variable(_number(0)), loop.variable(b), loop.variable(depth)
        sums = [[loop.variable(_ZEROS) for _ in range(WIDE)] for _ in range(ROWS)]
        vectors = [_load(builder, _aside(builder, right, v)) for v in range(WIDE)]
        for r in range(ROWS):
            number = _spread(builder, _load(builder, builder.add(lefts[r], offset), _float))
            for v in range(WIDE):
                sums[r][v] = loop.advance(sums[r][v], _multiply_add(builder, number, vectors[v], sums[r][v]))
        loop.advance(offset, builder.add(offset, a_step))
        loop.advance(right, _aside(builder, right, WIDE))
        still = loop.advance(left_over, builder.sub(left_over, _number(1)))
        loop.leave(builder.icmp_signed(">", still, _number(0)))
        places = [[_aside(builder, target, v) for v in range(WIDE)] for target in targets]
        with builder.if_else(builder.icmp_signed("!=", new, _number(0))) as (first, further):
            with first:
                for r in range(ROWS):
                    for v in range(WIDE):
                        _masked_store(builder, sums[r][v], places[r][v], masks[v])
            with further:
                for r in range(ROWS):  # a row that stands for others is read before it is written
                    for v in range(WIDE):
                        sums[r][v] = builder.fadd(sums[r][v], _masked_load(builder, places[r][v], masks[v]))
                for r in range(ROWS):
                    for v in range(WIDE):
                        _masked_store(builder, sums[r][v], places[r][v], masks[v])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 10), generate


@intrinsic
def _pack(context: Any, source: Any, row: Any, target: Any, depth: Any, cols: Any) -> Any:
    """Up to 64 columns of ``depth`` rows side by side for :func:`_tile`, with zeros where columns are lacking."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, row, target, depth, cols = arguments
        masks = _masks(builder, cols)
        loop = _Loop(builder)
        builder.branch(loop.body)
        loop.enter()
        read, write, left_over = loop.variable(source), loop.variable(target), loop.variable(depth)
        for v in range(WIDE):
            _store(builder, _masked_load(builder, _aside(builder, read, v), masks[v]), _aside(builder, write, v))
        loop.advance(read, builder.add(read, row))
        loop.advance(write, _aside(builder, write, WIDE))
        still = loop.advance(left_over, builder.sub(left_over, _number(1)))
        loop.leave(builder.icmp_signed(">", still, _number(0)))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


def _totals(builder: Any, vectors: list[Any]) -> Any:
    """The sums of the lanes of four vectors, as a vector of four."""
    even = [i + shift for i in range(0, LANES, 4) for shift in (0, LANES, 2, LANES + 2)]
    ab, cd = (  # a0 b0 a2 b2 + a1 b1 a3 b3, by fours
        builder.fadd(_shuffle(builder, x, y, even), _shuffle(builder, x, y, [i + 1 for i in even]))
        for x, y in (vectors[:2], vectors[2:])
    )
    low = [i + shift for i in range(0, LANES, 4) for shift in (0, 1, LANES, LANES + 1)]
    total = builder.fadd(_shuffle(builder, ab, cd, low), _shuffle(builder, ab, cd, [i + 2 for i in low]))
    for half in (LANES // 2, LANES // 4):
        lower, upper = (_shuffle(builder, total, total, list(range(start, start + half))) for start in (0, half))
        total = builder.fadd(lower, upper)
    return total


@intrinsic
def _dots(
    context: Any,
    a: Any,
    a_row: Any,
    b: Any,
    b_row: Any,
    bias: Any,
    c: Any,
    c_row: Any,
    depth: Any,
    rows: Any,
    cols: Any,
) -> Any:
    """c[i, j] = Σ_k a[i, k] b[j, k] + bias[j] for up to 3 rows of ``a`` and 8 of ``b``; no bias where that is 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, a_row, b, b_row, bias, c, c_row, depth, rows, cols = arguments
        lefts, targets = (_rows(builder, LEFT, rows, start, row) for start, row in ((a, a_row), (c, c_row)))
        rights = _rows(builder, RIGHT, cols, b, b_row)
        whole = builder.and_(depth, _number(-LANES))
        end, mask = builder.mul(whole, _number(_BYTES)), _first(builder, builder.sub(depth, whole))
        # what the depth has beyond whole vectors comes first
        heads, others = (
            [_masked_load(builder, builder.add(x, end), mask) for x in operand] for operand in (lefts, rights)
        )
        start = [[builder.fmul(x, y) for y in others] for x in heads]
        loop = _Loop(builder)
        builder.cbranch(builder.icmp_signed(">", whole, _number(0)), loop.body, loop.after)
        loop.enter()
        offset = loop.variable(_number(0))
        sums = [[loop.variable(x) for x in row] for row in start]
        vectors = [_load(builder, builder.add(x, offset)) for x in lefts]
        for j in range(RIGHT):
            vector = _load(builder, builder.add(rights[j], offset))
            for i in range(LEFT):
                sums[i][j] = loop.advance(sums[i][j], _multiply_add(builder, vectors[i], vector, sums[i][j]))
        still = loop.advance(offset, _aside(builder, offset, 1))
        loop.leave(builder.icmp_signed("<", still, end))
        for i in range(LEFT):
            for j in range(RIGHT):
                total = builder.phi(_vector)
                total.add_incoming(start[i][j], loop.before)
                total.add_incoming(sums[i][j], loop.body)
                sums[i][j] = total
        lanes = builder.and_(_first(builder, cols), ir.Constant(_bits, [int(i < RIGHT) for i in range(LANES)]))
        there = builder.icmp_signed("!=", bias, _number(0))
        # even where nothing is read, an address that does not exist costs a processor hundreds of cycles
        place = builder.select(there, bias, b)
        added = _masked_load(builder, place, builder.select(there, lanes, ir.Constant(_bits, [0] * LANES)))
        for i in range(LEFT):
            low, high = (_totals(builder, sums[i][j : j + 4]) for j in range(0, RIGHT, 4))
            row = _shuffle(builder, low, high, [i % RIGHT for i in range(LANES)])
            _masked_store(builder, builder.fadd(row, added), targets[i], lanes)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 10), generate


_read = types.Array(types.float32, 2, "A", readonly=True, aligned=False)
_written = types.Array(types.float32, 2, "A", aligned=False)
_row = types.Array(types.float32, 1, "A", readonly=True, aligned=False)


@kernel
def _outer_part(job: int, part: int, who: int) -> None:
    """Some of the columns of c = a b, for a ``b`` whose rows lie each in one piece."""
    a, a_row, a_step, b, b_row, c, c_row, m, n, depth, room, share = settings(job)
    room += who * _ROOM
    first = part * share
    breadth = min(share, n - first)
    b, c = b + _BYTES * first, c + _BYTES * first
    for top in range(0, depth, DEPTH):
        steps = min(DEPTH, depth - top)
        for k in range(0, steps, 8):  # a few rows at a time, so that what is read lies together
            for j in range(0, breadth, COLUMNS):
                beside = room + _BYTES * (steps * j + k * COLUMNS)
                _pack(b + (top + k) * b_row + _BYTES * j, b_row, beside, min(8, steps - k), breadth - j)
        for j in range(0, breadth, COLUMNS):
            for i in range(0, m, ROWS):
                _tile(
                    a + i * a_row + top * a_step, a_row, a_step, room + _BYTES * steps * j,
                    c + i * c_row + _BYTES * j, c_row, steps, min(ROWS, m - i), breadth - j, int(top == 0),
                )  # fmt: skip


@kernel
def _inner_part(job: int, part: int, who: int) -> None:
    """Some of the rows and columns of c = x wᵀ + bias, whose operands' rows lie each in one piece."""
    x, x_row, w, w_row, bias, c, c_row, m, n, depth, height, share = settings(job)
    across = -(-n // share)
    top, first = part // across * height, part % across * share
    bottom = min(m, top + height)
    for j in range(first, min(n, first + share), RIGHT):
        added = bias + _BYTES * j if bias else 0
        for i in range(top, bottom, LEFT):
            _dots(
                x + i * x_row, x_row, w + j * w_row, w_row, added, c + i * c_row + _BYTES * j, c_row, depth,
                min(LEFT, bottom - i), min(n, first + share) - j,
            )  # fmt: skip


@compiled(types.void(types.int64, types.int64, types.int64, types.int64, types.int64, _read, _read, _written))
def _outer(state: int, kernel: int, number: int, room: int, threads: int, a: Any, b: Any, c: Any) -> None:
    m, n = c.shape
    panels = -(-n // COLUMNS)
    share = COLUMNS * max(1, min(BREADTH // COLUMNS, panels // (_EACH * threads)))
    prepare(state, (
        a.ctypes.data, a.strides[0], a.strides[1], b.ctypes.data, b.strides[0], c.ctypes.data, c.strides[0],
        m, n, b.shape[0], room, share,
    ))  # fmt: skip
    run(state, kernel, -(-n // share), number)


@compiled(types.void(types.int64, types.int64, types.int64, types.int64, _read, _read, _row, _written))
def _inner(state: int, kernel: int, number: int, threads: int, x: Any, w: Any, bias: Any, c: Any) -> None:
    (m, n), depth = c.shape, x.shape[1]
    height = max(LEFT, _KEPT // depth // LEFT * LEFT)
    share = RIGHT * max(1, -(-n // RIGHT) // (_EACH * threads))
    added = np.int64(bias.ctypes.data) if bias.size else 0
    prepare(state, (
        x.ctypes.data, x.strides[0], w.ctypes.data, w.strides[0], added, c.ctypes.data, c.strides[0],
        m, n, depth, height, share,
    ))  # fmt: skip
    run(state, kernel, -(-m // height) * -(-n // share), number)


AVAILABLE = bool(binding.get_host_cpu_features().get("avx512f"))
_NO_BIAS = np.empty(0, np.float32)
_rooms = np.empty(pool.count * _ROOM if AVAILABLE else 0, np.uint8)


def product(a: Array, b: Array, bias: Array | None, out: Array) -> None:
    """``out`` = a b + bias, of matrices in float32.

    The rows of ``b``, or both those of ``a`` and the columns of ``b``, lie each in one piece; so do the rows of ``out``
    and ``bias`` (n,). ``out`` shares no memory with the others. See :func:`tinygrad_hw.kernels.product`.
    """
    m, n = out.shape
    with pool.turn:
        number = pool.number(m * n * a.shape[1] >= _SHARED)
        threads = pool.count if number else 1
        if b.strides[1] == _BYTES:
            _outer(pool.state, _outer_part.address, number, _rooms.ctypes.data, threads, a, b, out)
        else:
            added = _NO_BIAS if bias is None else bias
            _inner(pool.state, _inner_part.address, number, threads, a, b.T, added, out)
            return
    if bias is not None:
        out += bias
