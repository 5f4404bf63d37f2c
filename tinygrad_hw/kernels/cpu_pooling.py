"""Pooling and interpolation of float32 images on the CPU, compiled by Numba.

The batch is innermost in memory, so that each loop runs over images: it is the same whatever kernel, stride and padding
are, and becomes vector instructions. What is added up is added in the order of the generic path, which gives the same
bits. Arrays are (C, H, W, N) here, each in one piece.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import types

from tinygrad_hw.backend import Array
from tinygrad_hw.kernels.loops import SHARED, array, at
from tinygrad_hw.kernels.pool import floats, kernel, longs, pool, settings, share
from tinygrad_hw.kernels.resampling import Taps

Axis = tuple[int, int, int, int, int, int]  # kernel, stride, padding, dilation, windows, pixels


@lru_cache(maxsize=256)
def _places(rows: Axis, columns: Axis) -> np.ndarray:
    """Where windows lie: ``[windows in a column, in a row, entries in a row, dilations]``, then for each row of windows
    and for each column of them the first entry on the image, that after the last, and the pixel of the first."""
    words = [rows[4], columns[4], columns[0], rows[3], columns[3]]
    for size, stride, padding, dilation, count, pixels in (rows, columns):
        for start in range(-padding, count * stride - padding, stride):
            inside = [k for k in range(size) if 0 <= start + k * dilation < pixels]
            first = inside[0] if inside else 0
            words += [first, first + len(inside), start + first * dilation]
    return np.array(words, np.int64)


@lru_cache(maxsize=256)
def _owners(rows: Axis, columns: Axis) -> np.ndarray:
    """In which windows pixels lie: ``[pixels in a column, in a row, windows in a column, in a row, entries in a row]``,
    for each row of pixels and for each column of them where its list begins (and where the last one ends), and the
    lists, by ascending entry: (entry, window)."""
    starts: list[int] = []
    lists: list[tuple[int, int]] = []
    for size, stride, padding, dilation, count, pixels in (rows, columns):
        for pixel in range(pixels):
            starts.append(len(lists))
            for k in range(size):
                window, rest = divmod(pixel + padding - k * dilation, stride)
                if rest == 0 and 0 <= window < count:
                    lists.append((k, window))
    starts.append(len(lists))
    head = [rows[5], columns[5], rows[4], columns[4], columns[0]]
    return np.array([*head, *starts, *(word for pair in lists for word in pair)], np.int64)


_get_x, _ = array(types.float32, 0)
_get_y, _set_y = array(types.float32, 1)
_get_chosen, _set_chosen = array(types.uint8, 2)
_get_part, _set_part = array(types.float32, 3)


@kernel
def _greatest(job: int, part: int, who: int) -> None:
    """One row of windows of one channel."""
    x, y, chosen, plan_at, height, width, images, _, _, _, _, _ = settings(job)
    plan = longs(plan_at)
    windows, entries = plan[1], plan[2]
    channel, row = part // plan[0], 5 + part % plan[0] * 3
    for q in range(windows):
        column = 5 + (plan[0] + q) * 3
        out = (part * windows + q) * images
        begun = False
        for i in range(plan[row], plan[row + 1]):
            line = (channel * height + plan[row + 2] + (i - plan[row]) * plan[3]) * width + plan[column + 2]
            for j in range(plan[column], plan[column + 1]):
                number = np.uint8(i * entries + j)
                pixel = (line + (j - plan[column]) * plan[4]) * images
                if begun:
                    for n in range(images):
                        entry, greatest, so_far = _get_x(x, pixel + n), _get_y(y, out + n), _get_chosen(chosen, out + n)
                        better = (entry > greatest) | (entry != entry)
                        _set_y(y, out + n, entry if better else greatest)
                        _set_chosen(chosen, out + n, number if better else so_far)
                else:
                    for n in range(images):
                        _set_y(y, out + n, _get_x(x, pixel + n))
                        _set_chosen(chosen, out + n, number)
                    begun = True
        if not begun:
            for n in range(images):
                _set_y(y, out + n, -np.float32(np.inf))
                _set_chosen(chosen, out + n, np.uint8(0))


@kernel
def _scatter(job: int, part: int, who: int) -> None:
    """One row of pixels of one channel."""
    grad, chosen, out, plan_at, images, _, _, _, _, _, _, _ = settings(job)
    plan = longs(plan_at)
    height, width, lists = plan[0], plan[1], 6 + plan[0] + plan[1]
    channel, row = part // height, 5 + part % height
    for x in range(width):
        pixel, column = (part * width + x) * images, 5 + height + x
        begun = False
        for a in range(lists + 2 * plan[row], lists + 2 * plan[row + 1], 2):
            line = (channel * plan[2] + plan[a + 1]) * plan[3]
            for b in range(lists + 2 * plan[column], lists + 2 * plan[column + 1], 2):
                number = np.uint8(plan[a] * plan[4] + plan[b])
                window = (line + plan[b + 1]) * images
                if begun:
                    for n in range(images):
                        slope, there = _get_x(grad, window + n), _get_chosen(chosen, window + n)
                        slope = slope if there == number else np.float32(0)
                        _set_y(out, pixel + n, _get_y(out, pixel + n) + slope)
                else:
                    for n in range(images):
                        slope, there = _get_x(grad, window + n), _get_chosen(chosen, window + n)
                        _set_y(out, pixel + n, slope if there == number else np.float32(0))
                    begun = True
        if not begun:
            for n in range(images):
                _set_y(out, pixel + n, np.float32(0))


@kernel
def _resample(job: int, part: int, who: int) -> None:
    """One row of the result of one channel."""
    (
        x, out, room, images, height, width, columns, rows,
        row_plan, row_weights, column_plan, column_weights,
    ) = settings(job)  # fmt: skip
    down, along, across = longs(row_plan), longs(column_plan), room + who * images * 4
    by_row, by_column = floats(row_weights), floats(column_weights)
    channel, row = part // rows, part % rows
    for q in range(columns):
        target, first, last = (part * columns + q) * images, along[q], along[q + 1]
        if down[row] == down[row + 1]:
            for n in range(images):
                _set_y(out, target + n, np.float32(0))
        for a in range(down[row], down[row + 1]):
            line, weight, begun = (channel * height + down[rows + 1 + a]) * width, by_row[a], a > down[row]
            if 1 <= last - first <= 2:
                left, factor = (line + along[columns + 1 + first]) * images, by_column[first]
                right, other = (line + along[columns + last]) * images, by_column[last - 1]
                if last - first == 1:
                    for n in range(images):
                        sum = _get_x(x, left + n) * factor * weight
                        _set_y(out, target + n, _get_y(out, target + n) + sum if begun else sum)
                else:
                    for n in range(images):
                        sum = (_get_x(x, left + n) * factor + _get_x(x, right + n) * other) * weight
                        _set_y(out, target + n, _get_y(out, target + n) + sum if begun else sum)
                continue
            for n in range(images):
                _set_part(across, n, np.float32(0))
            for b in range(first, last):
                pixel, factor = (line + along[columns + 1 + b]) * images, by_column[b]
                for n in range(images):
                    _set_part(across, n, _get_part(across, n) + _get_x(x, pixel + n) * factor)
            for n in range(images):
                sum = _get_part(across, n) * weight
                _set_y(out, target + n, _get_y(out, target + n) + sum if begun else sum)


def max_pool(x: Array, rows: Axis, columns: Axis) -> tuple[Array, Array]:
    """x (C, H, W, N) → the greatest entry of each window and its number there, (C, OH, OW, N) each."""
    y = np.empty((x.shape[0], rows[4], columns[4], x.shape[3]), np.float32)
    chosen, plan = np.empty(y.shape, np.uint8), _places(rows, columns)
    share(_greatest, y.shape[0] * y.shape[1], x.size >= SHARED, at(x), at(y), at(chosen), at(plan), *x.shape[1:])
    return y, chosen


def scatter(grad: Array, chosen: Array, rows: Axis, columns: Axis) -> Array:
    """grad and chosen (C, OH, OW, N) → zeros (C, H, W, N) with grad added where the chosen entries stand."""
    out = np.empty((grad.shape[0], rows[5], columns[5], grad.shape[3]), np.float32)
    plan = _owners(rows, columns)
    share(
        _scatter, out.shape[0] * out.shape[1], out.size >= SHARED, at(grad), at(chosen), at(out), at(plan), out.shape[3]
    )
    return out


def resample(x: Array, rows: Taps, columns: Taps) -> Array:
    """x (C, H, W, N) → (C, ``rows.outputs``, ``columns.outputs``, N)."""
    out = np.empty((x.shape[0], rows.outputs, columns.outputs, x.shape[3]), np.float32)
    room = np.empty((pool.count, x.shape[3]), np.float32)
    tables = [at(table) for taps in (rows, columns) for table in (taps.words, taps.weight32)]
    share(
        _resample, x.shape[0] * rows.outputs, max(x.size, out.size) >= SHARED,
        at(x), at(out), at(room), x.shape[3], *x.shape[1:3], columns.outputs, rows.outputs, *tables,
    )  # fmt: skip
    return out
