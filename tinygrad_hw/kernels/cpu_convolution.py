"""Convolution in float32 on processors with AVX-512, compiled by Numba.

The batch is innermost in memory: a vector holds one pixel of 16 images, so that any stride, padding and dilation is a
matter of addresses, which :mod:`tinygrad_hw.kernels.windows` has in tables, and nothing is unfolded. :func:`_gather`
makes an output pixel of some channels for 32 images from all that it meets, its sums in registers throughout; the
derivative by the input is the same loop over other tables. :func:`_windows` makes the derivative by the weights, dot
products over pixels and images, as :mod:`tinygrad_hw.kernels.products` makes products.

A sum is taken in one order however many threads there are, so their number does not change a bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinygrad_hw.backend import Array
from tinygrad_hw.kernels.images import batch_innermost, images_first
from tinygrad_hw.kernels.pool import kernel, longs, settings, share
from tinygrad_hw.kernels.products import LEFT, RIGHT
from tinygrad_hw.kernels.vectors import (
    AVAILABLE,
    BITS,
    BYTES,
    FLOAT,
    LANES,
    LONG,
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
)
from tinygrad_hw.kernels.windows import Axis, gather_plan, too_long, weight_plan

_IMAGES = 2 * LANES  # of a step of `_gather`
_BLOCKS = (4, 8, 10)  # output channels of a step of `_gather`
_PARTS = 8  # of the output, each with sums of its own, of the derivative by the weights
_NEAR = 3 * 2**18  # bytes that stay in the second cache
_SHARED = 2**19  # multiply-adds from which threads are worth waking


def _gather(block: int) -> Any:
    @intrinsic
    def gather(
        context: Any, table: Any, entries: Any, x: Any, w: Any, bias: Any, out: Any, out_row: Any, rows: Any,
        images: Any,
    ) -> Any:  # fmt: skip
        """out[r, n] = bias[r] + Σ_k w[k, r] x[k, n] for up to ``block`` channels and 32 images, k by the table."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            table, entries, x, w, bias, out, out_row, rows, images = arguments
            masks = [first_lanes(builder, builder.sub(images, constant(v * LANES))) for v in range(2)]
            # where there is no second vector, the first stands for it: an address outside costs time even unread
            second = builder.select(builder.icmp_signed(">", images, constant(LANES)), constant(LANES * 4), constant(0))
            targets = row_addresses(builder, block, rows, out, out_row)
            starts = [spread(builder, load(builder, builder.add(bias, constant(r * 4)), FLOAT)) for r in range(block)]
            loop = Loop(builder)
            builder.cbranch(builder.icmp_signed(">", entries, constant(0)), loop.body, loop.after)
            loop.enter()
            entry, left_over = loop.variable(table), loop.variable(entries)
            sums = [[loop.variable(starts[r]) for _ in range(2)] for r in range(block)]
            pixel = builder.add(x, load(builder, entry, LONG))
            weight = builder.add(w, load(builder, builder.add(entry, constant(8)), LONG))
            vectors = [
                masked_load(builder, pixel, masks[0]),
                masked_load(builder, builder.add(pixel, second), masks[1]),
            ]
            for r in range(block):
                number = spread(builder, load(builder, builder.add(weight, constant(r * 4)), FLOAT))
                for v in range(2):
                    sums[r][v] = loop.advance(sums[r][v], multiply_add(builder, number, vectors[v], sums[r][v]))
            loop.advance(entry, builder.add(entry, constant(16)))
            still = loop.advance(left_over, builder.sub(left_over, constant(1)))
            loop.leave(builder.icmp_signed(">", still, constant(0)))
            for r in range(block):
                for v in range(2):
                    total = builder.phi(starts[r].type)
                    total.add_incoming(starts[r], loop.before)
                    total.add_incoming(sums[r][v], loop.body)
                    sums[r][v] = total
            for r in range(block):
                masked_store(builder, sums[r][0], targets[r], masks[0])
                masked_store(builder, sums[r][1], builder.add(targets[r], second), masks[1])
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9), generate

    return gather


def _gather_kernel(block: int) -> Any:
    step = _gather(block)

    def part_of(job: int, part: int, who: int) -> None:
        """One row of the output of 32 images."""
        plan, x, w, bias, out, out_channel, images, groups, channels, x_group, _, _ = settings(job)
        words = longs(plan)
        height, width, classes, block_bytes = words[0], words[1], words[2], words[3]
        y, first = part % height, part // height * _IMAGES
        row, column = words[8 + 2 * y], 8 + 2 * height
        tables = column + 2 * width + 2 * classes * words[9 + 2 * y]
        blocks = -(-channels // block)
        x += row + first * 4
        out += (y * width * images + first) * 4
        for group in range(groups):
            for b in range(blocks):
                place = group * blocks + b
                there = out + (group * channels + b * block) * out_channel
                for i in range(width):
                    table = tables + 2 * words[column + 2 * i + 1]
                    step(
                        plan + words[table], words[table + 1], x + words[column + 2 * i], w + place * block_bytes,
                        bias + place * block * 4, there + i * images * 4, out_channel,
                        min(block, channels - b * block), images - first,
                    )  # fmt: skip
            x += x_group

    part_of.__qualname__ += f"_{block}"
    return kernel(part_of)


@intrinsic
def _windows(
    context: Any, a: Any, a_row: Any, a_step: Any, b: Any, table: Any, b_step: Any, c: Any, c_row: Any, steps: Any,
    depth: Any, rows: Any, cols: Any,
) -> Any:  # fmt: skip
    """c[i, j] += Σ_s Σ_d a[i, s, d] b[j, s, d] for up to 3 rows of ``a`` and 8 of ``b``, these by the table."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, a_row, a_step, b, table, b_step, c, c_row, steps, depth, rows, cols = arguments
        lefts, targets = (row_addresses(builder, LEFT, rows, start, row) for start, row in ((a, a_row), (c, c_row)))
        entries = row_addresses(builder, RIGHT, cols, table, constant(8))
        rights = [builder.add(b, load(builder, entry, LONG)) for entry in entries]
        outer = Loop(builder)
        builder.branch(outer.body)
        outer.enter()
        a_offset, b_offset = outer.variable(constant(0)), outer.variable(constant(0))
        steps_left = outer.variable(steps)
        begun = [[outer.variable(ZEROS) for _ in range(RIGHT)] for _ in range(LEFT)]
        inner = Loop(builder)
        builder.branch(inner.body)
        inner.enter()
        offset, left_over = inner.variable(constant(0)), inner.variable(depth)
        sums = [[inner.variable(begun[i][j]) for j in range(RIGHT)] for i in range(LEFT)]
        mask = first_lanes(builder, left_over)
        a_place, b_place = builder.add(a_offset, offset), builder.add(b_offset, offset)
        vectors = [masked_load(builder, builder.add(x, a_place), mask) for x in lefts]
        for j in range(RIGHT):
            vector = masked_load(builder, builder.add(rights[j], b_place), mask)
            for i in range(LEFT):
                sums[i][j] = inner.advance(sums[i][j], multiply_add(builder, vectors[i], vector, sums[i][j]))
        inner.advance(offset, aside(builder, offset, 1))
        still = inner.advance(left_over, builder.sub(left_over, constant(LANES)))
        inner.leave(builder.icmp_signed(">", still, constant(0)))
        for i in range(LEFT):
            for j in range(RIGHT):
                outer.advance(begun[i][j], sums[i][j])
        outer.advance(a_offset, builder.add(a_offset, a_step))
        outer.advance(b_offset, builder.add(b_offset, b_step))
        more = outer.advance(steps_left, builder.sub(steps_left, constant(1)))
        outer.leave(builder.icmp_signed(">", more, constant(0)))
        lanes = builder.and_(first_lanes(builder, cols), ir.Constant(BITS, [int(i < RIGHT) for i in range(LANES)]))
        totals = []
        for i in range(LEFT):
            low, high = (lane_sums(builder, sums[i][j : j + 4]) for j in range(0, RIGHT, 4))
            row = shuffle(builder, low, high, [i % RIGHT for i in range(LANES)])
            totals.append(builder.fadd(row, masked_load(builder, targets[i], lanes)))
        for i in range(LEFT):  # a row that stands for others is read before it is written
            masked_store(builder, totals[i], targets[i], lanes)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 12), generate


@kernel
def _weights_part(job: int, part: int, who: int) -> None:
    """What one part of the output adds to the derivative by the weights."""
    plan, x, grad, sums, images, x_column, grad_channel, grad_row, groups, channels, sources, stride = settings(job)
    words = longs(plan)
    taps, entries, horizontal, offsets, segments = words[2], words[3], words[4], words[5], words[6]
    outputs = groups * channels
    sums += part * taps * outputs * entries * 4
    column = images * 4
    for s in range(words[8 + part], words[9 + part]):
        segment = segments + 6 * s
        y, left, right = words[segment], words[segment + 1], words[segment + 2]
        low, count = words[segment + 3] * sources, (words[segment + 4] - words[segment + 3]) * sources
        for group in range(groups):
            x_group = x + words[segment + 5] + group * words[7]
            for k in range(taps):
                tap = horizontal + 3 * k
                first, last = max(left, words[tap]), min(right, words[tap + 1])
                if first >= last:
                    continue
                b = x_group + words[tap + 2] + first * stride * x_column
                a = grad + y * grad_row + first * column
                steps, depth = last - first, images
                if stride == 1 and x_column == column:
                    steps, depth = 1, steps * depth
                for j in range(0, count, RIGHT):
                    for i in range(0, channels, LEFT):
                        o = group * channels + i
                        _windows(
                            a + o * grad_channel, grad_channel, column, b, plan + 8 * (offsets + j), stride * x_column,
                            sums + ((k * outputs + o) * entries + low + j) * 4, entries * 4, steps, depth,
                            min(LEFT, channels - i), min(RIGHT, count - j),
                        )  # fmt: skip


_gathers = {block: _gather_kernel(block) for block in _BLOCKS} if AVAILABLE else {}


def _innermost(x: Array) -> Array:
    """:func:`batch_innermost`, but what lies between one pixel's images and the next ones' may stay there."""
    return x.transpose(1, 2, 3, 0) if x.strides[0] == BYTES and min(x.strides) > 0 else batch_innermost(x)


def _packed(weight: Array, bias: Array | None, block: int) -> tuple[Array, Array]:
    """Weights (G, outputs, inputs, taps) and bias (G · outputs,) in blocks of outputs, whose gaps repeat the last."""
    groups, outputs, inputs, taps = weight.shape
    blocks = -(-outputs // block)
    chosen = np.minimum(np.arange(blocks * block), outputs - 1)
    rows = weight[:, chosen].reshape(groups, blocks, block, inputs, taps)
    packed = np.ascontiguousarray(rows.transpose(0, 1, 4, 3, 2))
    if bias is None:
        return packed, np.zeros(groups * blocks * block, np.float32)
    return packed, np.ascontiguousarray(bias.reshape(groups, outputs)[:, chosen])


def _block(outputs: int) -> int:
    """The block that leaves the fewest gaps, the largest of those."""
    return min(_BLOCKS, key=lambda block: (-(-outputs // block) * (block + 1), -block))


def _gathered(x: Array, weight: Array, bias: Array | None, axes: tuple[Axis, Axis]) -> Array | None:
    """The output (N, G · outputs, H, W) from ``x`` (C, H, W, N) and weights (G, outputs, inputs, taps).

    None where the tables of the pixels that meet would be too long.
    """
    groups, outputs, inputs, _ = weight.shape
    images = x.shape[3]
    block = _block(outputs)
    plan = gather_plan(*axes, inputs, x.strides[:3], block)
    if plan is None:
        return None
    packed, added = _packed(weight, bias, block)
    height, width = axes[0][0], axes[1][0]
    out = np.empty((groups * outputs, height, width, images), np.float32)
    work = out.size * weight.shape[2] * weight.shape[3]
    share(
        _gathers[block], height * -(-images // _IMAGES), work >= _SHARED,
        plan.ctypes.data, x.ctypes.data, packed.ctypes.data, added.ctypes.data, out.ctypes.data, out.strides[0],
        images, groups, outputs, inputs * x.strides[0],
    )  # fmt: skip
    return images_first(out)


def correlate(
    x: Array, weight: Array, bias: Array | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> Array | None:
    """See :func:`tinygrad_hw.kernels.convolution.correlate`."""
    outputs, inputs, *taps = weight.shape
    rows, columns = (
        ((size + before + after - step * (k - 1) - 1) // jump + 1, size, k, jump, before, step, False)
        for size, k, jump, (before, after), step in zip(x.shape[2:], taps, stride, padding, dilation, strict=True)
    )
    return _gathered(_innermost(x), weight.reshape(groups, outputs // groups, inputs, -1), bias, (rows, columns))


def correlate_by_input(
    grad: Array, weight: Array, size: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Array | None:
    """See :func:`tinygrad_hw.kernels.convolution.correlate_by_input`."""
    outputs, inputs, *taps = weight.shape
    rows, columns = (
        (wanted, given, k, jump, before, step, True)
        for wanted, given, k, jump, (before, _), step in zip(
            size, grad.shape[2:], taps, stride, padding, dilation, strict=True
        )
    )
    turned = weight.reshape(groups, outputs // groups, inputs, -1).transpose(0, 2, 1, 3)
    return _gathered(_innermost(grad), turned, None, (rows, columns))


def correlate_by_weight(
    grad: Array, x: Array, kernel_size: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Array | None:
    """See :func:`tinygrad_hw.kernels.convolution.correlate_by_weight`."""
    outputs, sources, images = grad.shape[1], x.shape[1] // groups, x.shape[0]
    rows, columns = (
        (made, size, k, jump, before, step, False)
        for made, size, k, jump, (before, _), step in zip(
            grad.shape[2:], x.shape[2:], kernel_size, stride, padding, dilation, strict=True
        )
    )
    if too_long(rows, columns):
        return None
    x, grad = _innermost(x), _innermost(grad)
    column = images * BYTES
    if grad.strides[2] != column:
        grad = np.ascontiguousarray(grad)
    tall, wide = kernel_size
    near = max(1, _NEAR // ((outputs + sources * groups * tall * stride[1]) * column))
    plan = weight_plan(rows, columns, sources, x.strides[:3], near, _PARTS)
    parts = int(plan[0])
    sums = np.zeros((parts, wide, outputs, tall, sources), np.float32)
    share(
        _weights_part, parts, grad.size * sources * tall * wide >= _SHARED,
        plan.ctypes.data, x.ctypes.data, grad.ctypes.data, sums.ctypes.data, images, x.strides[2], grad.strides[0],
        grad.strides[1], groups, outputs // groups, sources, stride[1],
    )  # fmt: skip
    return np.ascontiguousarray(sums.sum(axis=0).transpose(1, 3, 2, 0))
