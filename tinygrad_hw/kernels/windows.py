"""Which pixel of one image meets which weight of a kernel for a pixel of another, as tables for compiled loops.

Along one axis, a *meeting* of output index i is a pair (tap k of the kernel, source index s). Correlation meets
s = i·stride − before + k·dilation; its derivative by the input meets the same pairs the other way round. Where a tap
would fall outside the source, there is no meeting: padding costs nothing and is never copied. Output pixels with the
same taps at the same distances form a class, of which there are few, and a table is kept for each class.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tinygrad_hw.kernels.images import span

Axis = tuple[int, int, int, int, int, int, bool]  # outputs, sources, taps, stride, before, dilation, backwards
_WORD = 8
_HEAD = 8  # words before the first table
_LARGEST = 2**18  # entries of all tables
_PAIRS = 2**19  # of an output and a tap along the axes
_KEPT = 64  # plans


def too_long(rows: Axis, columns: Axis) -> bool:
    """Whether finding out what meets what would take longer than it saves."""
    return rows[0] * rows[2] + columns[0] * columns[2] > _PAIRS


def _meetings(axis: Axis) -> list[list[tuple[int, int]]]:
    outputs, sources, taps, stride, before, dilation, backwards = axis
    found = []
    for i in range(outputs):
        met = []
        for k in range(taps):
            if backwards:
                s, rest = divmod(i + before - k * dilation, stride)
                inside = rest == 0 and 0 <= s < sources
            else:
                s = i * stride - before + k * dilation
                inside = 0 <= s < sources
            if inside:
                met.append((k, s))
        found.append(met)
    return found


@lru_cache(maxsize=_KEPT)
def _classes(axis: Axis) -> tuple[list[int], list[int], list[tuple[tuple[int, int], ...]]]:
    """For each output its base in the source and its class; for each class its taps and their distances to the base."""
    bases, members = [], []
    classes: dict[tuple[tuple[int, int], ...], int] = {}
    for met in _meetings(axis):
        base = met[0][1] if met else 0
        bases.append(base)
        members.append(classes.setdefault(tuple((k, s - base) for k, s in met), len(classes)))
    return bases, members, list(classes)


@lru_cache(maxsize=_KEPT)
def gather_plan(
    rows: Axis, columns: Axis, channels: int, strides: tuple[int, int, int], block: int
) -> np.ndarray | None:
    """The plan by which a compiled loop gathers what an output pixel needs, in 64-bit words; None if it were too long.

    Args:
        rows: the vertical axis.
        columns: the horizontal axis.
        channels: of the source that one output channel sees.
        strides: of the source's channels, rows and columns, in bytes.
        block: output channels whose weights lie side by side: weights are packed as (tap row, tap column, channel,
            output channel of the block).

    Returns:
        words ``[output rows, output columns, horizontal classes, bytes of a block's weights, 0, 0, 0, 0]``; for each
        output row, then each output column, the offset of its base in bytes and its class; for each pair of classes
        where its table begins (in bytes from the plan's first word) and how many entries it has; the tables, an entry
        being the offsets in bytes of a source pixel from the base and of its weights from the block's first.
    """
    if too_long(rows, columns):
        return None
    (y_bases, y_members, y_classes), (x_bases, x_members, x_classes) = _classes(rows), _classes(columns)
    if len(y_classes) * len(x_classes) * rows[2] * columns[2] * channels > _LARGEST:
        return None
    across, down, along = strides
    pairs = [(y, x) for y in y_classes for x in x_classes]
    begins, tables = [], []
    place = _HEAD + 2 * (len(y_bases) + len(x_bases)) + 2 * len(pairs)
    for y_class, x_class in pairs:
        met = [(ky * columns[2] + kx, dy * down + dx * along) for ky, dy in y_class for kx, dx in x_class]
        taps = np.array(met, np.int64).reshape(-1, 2)
        each = np.arange(channels)
        entries = np.empty((len(taps), channels, 2), np.int64)
        entries[:, :, 0] = taps[:, 1:] + each * across
        entries[:, :, 1] = (taps[:, :1] * channels + each) * block * 4
        begins += [place * _WORD, len(taps) * channels]
        tables.append(entries.ravel())
        place += entries.size
    weights = rows[2] * columns[2] * channels * block * 4
    head = [len(y_bases), len(x_bases), len(x_classes), weights, 0, 0, 0, 0]
    rows_of = [word for base, member in zip(y_bases, y_members, strict=True) for word in (base * down, member)]
    columns_of = [word for base, member in zip(x_bases, x_members, strict=True) for word in (base * along, member)]
    plan = np.concatenate([np.array(head + rows_of + columns_of + begins, np.int64), *tables])
    plan.flags.writeable = False
    return plan


def _seen(axis: Axis) -> list[tuple[int, int]]:
    """For each tap, the outputs first to last + 1 for which it falls inside the source."""
    outputs, sources, taps, stride, before, dilation, _ = axis
    spans = (span(k * dilation - before, stride, sources, slice(0, outputs)) for k in range(taps))
    return [(0, 0) if found is None else (found[0].start, found[0].stop) for found in spans]


@lru_cache(maxsize=_KEPT)
def weight_plan(
    rows: Axis, columns: Axis, channels: int, strides: tuple[int, int, int], width: int, parts: int
) -> np.ndarray:
    """The plan by which a compiled loop sums what each weight has met, in 64-bit words.

    Args:
        rows: the vertical axis; not backwards. Not :func:`too_long`, nor the other.
        columns: the horizontal axis; not backwards.
        channels: of the source that one output channel sees.
        strides: of the source's channels, rows and columns, in bytes.
        width: output columns worked on at a time, so that what they need stays in the second cache.
        parts: into which the output is cut; each sums on its own.

    Returns:
        words ``[parts, tap rows, tap columns, entries, where in words the horizontal taps, the offsets, the segments
        begin, bytes from the sources of one group of channels to those of the next]``; for each part the number of its
        first segment, and of the last one's successor; for each horizontal tap its first output, the output after its
        last one, and the offset in bytes of the source pixel that output 0 meets; the offsets of (tap row, channel) in
        bytes; the segments, each being output row, first column, column after the last, first tap row, tap row after
        the last, and the offset in bytes of the source row that the first of these taps meets.
    """
    across, down, along = strides
    segments = []
    tops = _seen(rows)
    for y in range(rows[0]):
        taps = [k for k, (first, last) in enumerate(tops) if first <= y < last]
        if not taps:
            continue
        top = y * rows[3] - rows[4] + taps[0] * rows[5]
        for left in range(0, columns[0], width):
            segments.append((y, left, min(columns[0], left + width), taps[0], taps[-1] + 1, top * down))
    parts = max(1, min(parts, len(segments)))
    limits = [len(segments) * i // parts for i in range(parts + 1)]
    horizontal = [
        (first, last, (k * columns[5] - columns[4]) * along) for k, (first, last) in enumerate(_seen(columns))
    ]
    offsets = [k * rows[5] * down + c * across for k in range(rows[2]) for c in range(channels)]
    first_tap = _HEAD + parts + 1
    first_offset = first_tap + 3 * len(horizontal)
    first_segment = first_offset + len(offsets)
    head = [parts, rows[2], columns[2], len(offsets), first_tap, first_offset, first_segment, channels * across]
    plan = np.array(head + limits + _flat(horizontal) + offsets + _flat(segments), np.int64)
    plan.flags.writeable = False
    return plan


def _flat(tuples: Sequence[tuple[int, ...]]) -> list[int]:
    return [word for words in tuples for word in words]
