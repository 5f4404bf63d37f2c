"""Anomaly mode: where did the NaN come from?"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinygrad_hw import versions
from tinygrad_hw.autograd import OperationEvent, operation_hook
from tinygrad_hw.backend import array_module, is_array
from tinygrad_hw.operands import describe_operands
from tinygrad_hw.tensor import raw_of

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class AnomalyError(FloatingPointError):
    """An operation produced a value or a gradient that is not finite."""


def calling_line() -> str:
    """File, line and text of the innermost line outside this package that led here."""
    frame = sys._getframe(1)
    while frame.f_back is not None and os.path.abspath(frame.f_code.co_filename).startswith(_PACKAGE):
        frame = frame.f_back
    path, number = frame.f_code.co_filename, frame.f_lineno
    return f"{path}:{number} in {frame.f_code.co_name}: {linecache.getline(path, number).strip()}"


def _first_bad(array: Any, nan: bool, inf: bool) -> tuple[tuple[int, ...], float] | None:
    """Index and value of the first entry that is NaN (or infinite), or None."""
    if not (hasattr(array, "dtype") and array.dtype.kind in "fc" and array.size):
        return None
    xp = array_module(array)
    bad = xp.isnan(array) if nan else xp.zeros(array.shape, bool)
    if inf:
        bad = bad | xp.isinf(array)
    if not bool(bad.any()):
        return None
    position = int(xp.argmax(bad.ravel()))
    index: list[int] = []
    for size in reversed(array.shape):
        position, last = divmod(position, size)
        index.insert(0, last)
    return tuple(index), array[tuple(index)].item()


@contextmanager
def detect_anomaly(nan: bool = True, inf: bool = False) -> Iterator[None]:
    """Raise :class:`AnomalyError` at the first operation, forward or backward, whose result is NaN (or infinite).

    The message names the operation, the shapes of its operands, the first bad index, and the line that ran it forward.
    A non-finite operand is not the operation's fault: then the message says that it came in from outside. An array that
    an operation saved, and that was changed in place before its backward by whatever route, raises too. Costs a pass
    over every result; use it to find a fault, not to train.

    Args:
        nan: look for NaN.
        inf: look for infinities too; masks made of -inf are infinite on purpose.
    """

    def watch(event: OperationEvent) -> None:
        node = event.node
        if event.phase == "forward":
            node._trace = calling_line()
            node._fingerprint = versions.fingerprint(node._kept())
        elif node._fingerprint is not None:
            after = versions.fingerprint(node._kept())
            if after != node._fingerprint:
                raise AnomalyError(
                    f"{event.name} backward: an array that it saved was changed in place between forward and backward; "
                    f"run forward by {node._trace}"
                )
        for position, value in enumerate(event.outputs):
            array = raw_of(value)
            found = _first_bad(array, nan, inf)
            if found is None:
                continue
            index, bad = found
            inputs = [raw_of(value) for value in event.inputs]
            entered = next((i for i, x in enumerate(inputs) if is_array(x) and _first_bad(x, nan, inf)), None)
            what = "result" if event.phase == "forward" else f"the gradient of operand {position}"
            origin = "" if entered is None else f"; operand {entered} was not finite before"
            raise AnomalyError(
                f"{event.name} {event.phase}: {what} ({array.dtype} {tuple(array.shape)}) is {bad} at index {index} "
                f"[operands: {describe_operands(inputs)}]{origin}; run forward by "
                f"{node._trace or 'a line outside the block'}"
            )

    with operation_hook(watch):
        yield
