"""Matrix products in float32 on processors with AVX-512, compiled by Numba.

OpenBLAS does not know every processor, takes kernels that are half as wide for those, and waits long for its threads
where a product is small. Here the inner loops are put together in LLVM's own language, since its vectorizer does not
find their blocking: 24 vectors of 16 sums stay in registers, and every step of the depth makes 24 multiply-adds out of
at most 11 loads. :func:`tile` takes b by rows, 64 columns at a time, which stay in the first cache: packed for that
(Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication") where the result has many rows;
:func:`_dots` takes both operands along the depth as they are. Rows that a block lacks are its last one again, columns
that it lacks are masked: no loop over what is left over.

An entry is summed in one order however many threads there are, so their number does not change a bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinygrad_hw.backend import Array
from tinygrad_hw.kernels.pool import compiled, kernel, pool, prepare, run, settings
from tinygrad_hw.kernels.vectors import (
    AVAILABLE,
    BITS,
    BYTES,
    FLOAT,
    LANES,
    VECTOR,
    ZEROS,
    Loop,
    aside,
    constant,
    first_lanes,
    lane_sums,
    load,
    masked_load,
    masked_store,
    multiply_add,
    row_addresses,
    shuffle,
    spread,
    store,
)

ROWS, WIDE = 6, 4  # `tile`: 6 rows of 4 vectors
COLUMNS = LANES * WIDE
LEFT, RIGHT = 3, 8  # `_dots`: 3 rows of the left, 8 of the right operand
DEPTH, BREADTH = 128, 8 * COLUMNS  # of b packed at a time: 256 KiB, in the second cache
_FEW = 256  # rows of the result: for fewer, packing b takes longer than it saves, ...
_ALIASED = 512  # ... unless its rows are multiples of so many bytes apart: they would displace each other in the cache
_KEPT = 2**16  # entries of the left operand of `_dots` in the second cache
_SHARED = 2**19  # multiply-adds from which threads are worth waking
_EACH = 4  # parts for each thread, so that one that comes late finds some left
_ROOM = BYTES * DEPTH * BREADTH  # of each thread


def _masks(builder: Any, columns: Any) -> list[Any]:
    return [first_lanes(builder, builder.sub(columns, constant(v * LANES))) for v in range(WIDE)]


@intrinsic
def tile(
    context: Any,
    a: Any,
    a_row: Any,
    a_step: Any,
    b: Any,
    b_row: Any,
    c: Any,
    c_row: Any,
    depth: Any,
    rows: Any,
    cols: Any,
    new: Any,
) -> Any:
    """c[r, j] = Σ_k a[r, k] b[k, j] for up to 6 rows and 64 columns; added to what is there unless ``new``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, a_row, a_step, b, b_row, c, c_row, depth, rows, cols, new = arguments
        lefts, targets = (row_addresses(builder, ROWS, rows, start, row) for start, row in ((a, a_row), (c, c_row)))
        masks = _masks(builder, cols)
        loop = Loop(builder)
        builder.branch(loop.body)
        loop.enter()
        offset, right, left_over = loop.variable(constant(0)), loop.variable(b), loop.variable(depth)
        sums = [[loop.variable(ZEROS) for _ in range(WIDE)] for _ in range(ROWS)]
        vectors = [masked_load(builder, aside(builder, right, v), masks[v]) for v in range(WIDE)]
        for r in range(ROWS):
            number = spread(builder, load(builder, builder.add(lefts[r], offset), FLOAT))
            for v in range(WIDE):
                sums[r][v] = loop.advance(sums[r][v], multiply_add(builder, number, vectors[v], sums[r][v]))
        loop.advance(offset, builder.add(offset, a_step))
        loop.advance(right, builder.add(right, b_row))
        still = loop.advance(left_over, builder.sub(left_over, constant(1)))
        loop.leave(builder.icmp_signed(">", still, constant(0)))
        places = [[aside(builder, target, v) for v in range(WIDE)] for target in targets]
        with builder.if_else(builder.icmp_signed("!=", new, constant(0))) as (first, further):
            with first:
                for r in range(ROWS):
                    for v in range(WIDE):
                        masked_store(builder, sums[r][v], places[r][v], masks[v])
            with further:
                for r in range(ROWS):  # a row that stands for others is read before it is written
                    for v in range(WIDE):
                        sums[r][v] = builder.fadd(sums[r][v], masked_load(builder, places[r][v], masks[v]))
                for r in range(ROWS):
                    for v in range(WIDE):
                        masked_store(builder, sums[r][v], places[r][v], masks[v])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 11), generate


@intrinsic
def _pack(context: Any, source: Any, row: Any, target: Any, depth: Any, cols: Any) -> Any:
    """Up to 64 columns of ``depth`` rows side by side for :func:`tile`, with zeros where columns are lacking."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, row, target, depth, cols = arguments
        masks = _masks(builder, cols)
        loop = Loop(builder)
        builder.branch(loop.body)
        loop.enter()
        read, write, left_over = loop.variable(source), loop.variable(target), loop.variable(depth)
        for v in range(WIDE):
            store(builder, masked_load(builder, aside(builder, read, v), masks[v]), aside(builder, write, v))
        loop.advance(read, builder.add(read, row))
        loop.advance(write, aside(builder, write, WIDE))
        still = loop.advance(left_over, builder.sub(left_over, constant(1)))
        loop.leave(builder.icmp_signed(">", still, constant(0)))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


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
        lefts, targets = (row_addresses(builder, LEFT, rows, start, row) for start, row in ((a, a_row), (c, c_row)))
        rights = row_addresses(builder, RIGHT, cols, b, b_row)
        whole = builder.and_(depth, constant(-LANES))
        end, mask = builder.mul(whole, constant(BYTES)), first_lanes(builder, builder.sub(depth, whole))
        # what the depth has beyond whole vectors comes first
        heads, others = (
            [masked_load(builder, builder.add(x, end), mask) for x in operand] for operand in (lefts, rights)
        )
        start = [[builder.fmul(x, y) for y in others] for x in heads]
        loop = Loop(builder)
        builder.cbranch(builder.icmp_signed(">", whole, constant(0)), loop.body, loop.after)
        loop.enter()
        offset = loop.variable(constant(0))
        sums = [[loop.variable(x) for x in row] for row in start]
        vectors = [load(builder, builder.add(x, offset)) for x in lefts]
        for j in range(RIGHT):
            vector = load(builder, builder.add(rights[j], offset))
            for i in range(LEFT):
                sums[i][j] = loop.advance(sums[i][j], multiply_add(builder, vectors[i], vector, sums[i][j]))
        still = loop.advance(offset, aside(builder, offset, 1))
        loop.leave(builder.icmp_signed("<", still, end))
        for i in range(LEFT):
            for j in range(RIGHT):
                total = builder.phi(VECTOR)
                total.add_incoming(start[i][j], loop.before)
                total.add_incoming(sums[i][j], loop.body)
                sums[i][j] = total
        lanes = builder.and_(first_lanes(builder, cols), ir.Constant(BITS, [int(i < RIGHT) for i in range(LANES)]))
        there = builder.icmp_signed("!=", bias, constant(0))
        # even where nothing is read, an address that does not exist costs a processor hundreds of cycles
        place = builder.select(there, bias, b)
        added = masked_load(builder, place, builder.select(there, lanes, ir.Constant(BITS, [0] * LANES)))
        for i in range(LEFT):
            low, high = (lane_sums(builder, sums[i][j : j + 4]) for j in range(0, RIGHT, 4))
            row = shuffle(builder, low, high, [i % RIGHT for i in range(LANES)])
            masked_store(builder, builder.fadd(row, added), targets[i], lanes)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 10), generate


_read = types.Array(types.float32, 2, "A", readonly=True, aligned=False)
_written = types.Array(types.float32, 2, "A", aligned=False)
_row = types.Array(types.float32, 1, "A", readonly=True, aligned=False)


@kernel
def _outer_part(job: int, part: int, who: int) -> None:
    """Some of the columns of c = a b, for a ``b`` whose rows lie each in one piece; packed where there is room."""
    a, a_row, a_step, b, b_row, c, c_row, m, n, depth, room, share = settings(job)
    packs = room != 0
    room += who * _ROOM
    first = part * share
    breadth = min(share, n - first)
    b, c = b + BYTES * first, c + BYTES * first
    for top in range(0, depth, DEPTH):
        steps = min(DEPTH, depth - top)
        for k in range(0, steps if packs else 0, 8):  # a few rows at a time, so that what is read lies together
            for j in range(0, breadth, COLUMNS):
                beside = room + BYTES * (steps * j + k * COLUMNS)
                _pack(b + (top + k) * b_row + BYTES * j, b_row, beside, min(8, steps - k), breadth - j)
        for j in range(0, breadth, COLUMNS):
            right = room + BYTES * steps * j if packs else b + top * b_row + BYTES * j
            for i in range(0, m, ROWS):
                tile(
                    a + i * a_row + top * a_step, a_row, a_step, right, BYTES * COLUMNS if packs else b_row,
                    c + i * c_row + BYTES * j, c_row, steps, min(ROWS, m - i), breadth - j, int(top == 0),
                )  # fmt: skip


@kernel
def _inner_part(job: int, part: int, who: int) -> None:
    """Some of the rows and columns of c = x wᵀ + bias, whose operands' rows lie each in one piece."""
    x, x_row, w, w_row, bias, c, c_row, m, n, depth, height, share = settings(job)
    stripes = -(-m // height)
    top, first = part % stripes * height, part // stripes * share
    bottom = min(m, top + height)
    for j in range(first, min(n, first + share), RIGHT):
        added = bias + BYTES * j if bias else 0
        for i in range(top, bottom, LEFT):
            _dots(
                x + i * x_row, x_row, w + j * w_row, w_row, added, c + i * c_row + BYTES * j, c_row, depth,
                min(LEFT, bottom - i), min(n, first + share) - j,
            )  # fmt: skip


@compiled(types.void(types.int64, types.int64, types.int64, types.int64, types.int64, _read, _read, _written))
def _outer(state: int, kernel: int, number: int, room: int, threads: int, a: Any, b: Any, c: Any) -> None:
    m, n = c.shape
    panels = -(-n // COLUMNS)
    share = COLUMNS * max(1, min(BREADTH // COLUMNS, panels // (_EACH * threads)))
    if m < _FEW and b.strides[0] % _ALIASED != 0:
        room = 0
    prepare(state, (
        a.ctypes.data, a.strides[0], a.strides[1], b.ctypes.data, b.strides[0], c.ctypes.data, c.strides[0],
        m, n, b.shape[0], room, share,
    ))  # fmt: skip
    run(state, kernel, -(-n // share), number)


@compiled(types.void(types.int64, types.int64, types.int64, types.int64, _read, _read, _row, _written))
def _inner(state: int, kernel: int, number: int, threads: int, x: Any, w: Any, bias: Any, c: Any) -> None:
    (m, n), depth = c.shape, x.shape[1]
    stripes = -(-m // max(LEFT, _KEPT // depth))
    height = LEFT * -(-m // (LEFT * stripes))  # all alike, so that threads end together
    share = RIGHT * max(1, -(-n // RIGHT) // (_EACH * threads))
    added = np.int64(bias.ctypes.data) if bias.size else 0
    prepare(state, (
        x.ctypes.data, x.strides[0], w.ctypes.data, w.strides[0], added, c.ctypes.data, c.strides[0],
        m, n, depth, height, share,
    ))  # fmt: skip
    run(state, kernel, -(-m // height) * -(-n // share), number)


_NO_BIAS = np.empty(0, np.float32)
_rooms = np.empty(pool.count * _ROOM if AVAILABLE else 0, np.uint8)
_rooms_address = _rooms.ctypes.data  # asking takes as long as a tiny product


def product(a: Array, b: Array, bias: Array | None, out: Array) -> None:
    """``out`` = a b + bias, of matrices in float32.

    The rows of ``b``, or both those of ``a`` and the columns of ``b``, lie each in one piece; so do the rows of ``out``
    and ``bias`` (n,). ``out`` shares no memory with the others. See :func:`tinygrad_hw.kernels.product`.
    """
    m, n = out.shape
    with pool.turn:
        number = pool.number(m * n * a.shape[1] >= _SHARED)
        threads = pool.count if number else 1
        if b.strides[1] == BYTES:
            _outer(pool.state, _outer_part.address, number, _rooms_address, threads, a, b, out)
        else:
            added = _NO_BIAS if bias is None else bias
            _inner(pool.state, _inner_part.address, number, threads, a, b.T, added, out)
            return
    if bias is not None:
        out += bias
