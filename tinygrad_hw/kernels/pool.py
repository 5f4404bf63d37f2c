"""The threads that kernels share their work with, and how kernels are compiled.

A job is cut into parts; the caller and the helpers each take parts until none is left (a counter, one atomic addition
a part). A helper that the system does not run just now, because another process wants the processor, takes no
part and nobody waits for it; a fixed division would stand still until it is back. Between jobs a helper watches for the
next one for a moment, since waking a thread takes longer than a small product, and then sleeps.

A kernel is a function ``(job, part, who)`` on machine integers: the address of its settings (64-bit words), the number
of the part and that of the thread. Results do not depend on who makes a part.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

if sys.platform != "linux":
    raise ImportError("the threads of kernels need the semaphores of Linux")

WORDS = 12  # of a job
_OPEN, _INSIDE, _TAKEN, _BACK, _PARTS, _KERNEL, _SLEEPERS, _BELL = 0, 8, 16, 17, 18, 19, 24, 32  # places in the state
_SETTINGS = 40
_WATCH = 1_000_000  # cycles of the clock that a helper waits awake: some 0.3 ms
_PATIENCE = 256  # looks at what is not yet there before letting other threads run

_SOURCES = zlib.crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))

_long, _int = ir.IntType(64), ir.IntType(32)


def compiled(*signature: Any) -> Callable[[Any], Any]:
    """Compile a function, for one signature or for whatever it is given, and keep the machine code on disk."""
    return lambda function: _kept(numba.njit, signature, function)


def kernel(function: Any) -> Any:
    """Compile a kernel; ``.address`` of the result is what :func:`run` takes."""
    return _kept(numba.cfunc, (types.void(types.int64, types.int64, types.int64),), function)


def _kept(compile_it: Any, signature: tuple[Any, ...], function: Any) -> Any:
    # error_model: division as IEEE has it, so that a loop becomes vector instructions
    options: dict[str, Any] = {"error_model": "numpy"} | ({"nogil": True} if compile_it is numba.njit else {})
    # Numba asks whether this function's file has changed, but machine code from the other files is in it, too
    function.__qualname__ += f"_{_SOURCES:08x}"
    try:
        return compile_it(*signature, cache=True, **options)(function)
    except RuntimeError:  # there is no folder to keep the machine code in
        return compile_it(*signature, **options)(function)


def _instruction(result: Any, count: int, generate: Callable[[Any, list[Any]], Any], kind: Any = types.int64) -> Any:
    """A function for compiled code, of ``count`` numbers, that is what ``generate`` writes."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = generate(builder, list(arguments))
        return context.get_dummy_value() if result is types.void else made

    signature = result(*[kind] * count)
    if count == 0:
        return intrinsic(lambda context: (signature, codegen))
    if count == 1:
        return intrinsic(lambda context, a: (signature, codegen))
    if count == 2:
        return intrinsic(lambda context, a, b: (signature, codegen))
    return intrinsic(lambda context, a, b, c, d: (signature, codegen))


def _word(builder: Any, address: Any, kind: Any = _long) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _external(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(result, [value.type for value in arguments]), name)
    return builder.call(function, arguments)


_get = _instruction(types.int64, 1, lambda b, a: b.load_atomic(_word(b, a[0]), "seq_cst", 8))
_set = _instruction(types.void, 2, lambda b, a: b.store_atomic(a[1], _word(b, a[0]), "seq_cst", 8))
_add = _instruction(types.int64, 2, lambda b, a: b.atomic_rmw("add", _word(b, a[0]), a[1], "seq_cst"))
_swap = _instruction(types.int64, 2, lambda b, a: b.atomic_rmw("xchg", _word(b, a[0]), a[1], "seq_cst"))
_clock = _instruction(types.int64, 0, lambda b, a: _external(b, "llvm.readcyclecounter", _long, a))
_yield = _instruction(types.int32, 0, lambda b, a: _external(b, "sched_yield", _int, a))
_pause = _yield
if platform.machine() == "x86_64":
    _pause = _instruction(types.void, 0, lambda b, a: _external(b, "llvm.x86.sse2.pause", ir.VoidType(), a))
_sleep = _instruction(types.int32, 1, lambda b, a: _external(b, "sem_wait", _int, [_word(b, a[0])]))
_ring = _instruction(types.int32, 1, lambda b, a: _external(b, "sem_post", _int, [_word(b, a[0])]))
_call = _instruction(
    types.void, 4, lambda b, a: b.call(_word(b, a[0], ir.FunctionType(ir.VoidType(), [_long] * 3)), a[1:])
)

as_word = _instruction(types.int64, 1, lambda b, a: b.bitcast(a[0], _long), types.float64)
number64 = _instruction(types.float64, 1, lambda b, a: b.bitcast(a[0], ir.DoubleType()))
number32 = _instruction(types.float32, 1, lambda b, a: b.fptrunc(b.bitcast(a[0], ir.DoubleType()), ir.FloatType()))
float_to_bits = _instruction(types.int32, 1, lambda b, a: b.bitcast(a[0], _int), types.float32)
float_of_bits = _instruction(types.float32, 1, lambda b, a: b.bitcast(a[0], ir.FloatType()), types.int32)
# the array of that type at an address
longs = _instruction(types.CPointer(types.int64), 1, lambda b, a: _word(b, a[0]))
floats = _instruction(types.CPointer(types.float32), 1, lambda b, a: _word(b, a[0], ir.FloatType()))
doubles = _instruction(types.CPointer(types.float64), 1, lambda b, a: _word(b, a[0], ir.DoubleType()))


@intrinsic
def settings(context: Any, job: Any) -> Any:
    """The settings of a job, a tuple of whole numbers."""
    kind = types.UniTuple(types.int64, WORDS)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = _word(builder, arguments[0])
        words = [builder.load(builder.gep(start, [ir.Constant(_int, i)])) for i in range(WORDS)]
        return context.make_tuple(builder, kind, words)

    return kind(types.int64), codegen


@intrinsic
def prepare(context: Any, state: Any, words: Any) -> Any:
    """Write the settings of the next job, at most :data:`WORDS` whole numbers."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = _word(builder, builder.add(arguments[0], ir.Constant(_long, 8 * _SETTINGS)))
        for i in range(words.count):
            builder.store(builder.extract_value(arguments[1], i), builder.gep(start, [ir.Constant(_int, i)]))
        return context.get_dummy_value()

    return types.void(types.int64, words), codegen


@compiled()
def _take_parts(state: int, who: int) -> None:
    job, kernel, parts = state + 8 * _SETTINGS, _get(state + 8 * _KERNEL), _get(state + 8 * _PARTS)
    own = 0
    while _add(state + 8 * _TAKEN, 1) < parts:
        # the caller from the front, helpers from the back: what one has in its cache is mostly its own again
        part = own if who == 0 else parts - 1 - _add(state + 8 * _BACK, 1)
        own += 1
        _call(kernel, job, part, who)


@compiled(types.void(types.int64, types.int64))
def _help(state: int, who: int) -> None:
    """What a helper does until the process ends."""
    last = looks = 0
    while True:
        since = _clock()
        number = _get(state + 8 * _OPEN)
        while number == 0 or number == last:
            _pause()
            looks += 1
            if looks % _PATIENCE == 0:
                _yield()
            if _clock() - since > _WATCH:
                _add(state + 8 * _SLEEPERS, 1)
                _sleep(state + 8 * _BELL)
                since = _clock()
            number = _get(state + 8 * _OPEN)
        _add(state + 8 * _INSIDE, 1)  # from here on the caller waits, unless it closed the job before
        last = _get(state + 8 * _OPEN)
        if last != 0:
            _take_parts(state, who)
        _add(state + 8 * _INSIDE, -1)


@compiled()
def run(state: int, kernel: int, parts: int, number: int) -> None:
    """Have ``parts`` parts of the job in ``state`` made; alone if ``number``, which no job had before, is 0.

    For compiled code, after :func:`prepare`.
    """
    _set(state + 8 * _KERNEL, kernel)
    _set(state + 8 * _PARTS, parts)
    _set(state + 8 * _TAKEN, 0)
    _set(state + 8 * _BACK, 0)
    if number == 0:
        _take_parts(state, 0)
        return
    _set(state + 8 * _OPEN, number)
    for _ in range(_swap(state + 8 * _SLEEPERS, 0)):
        _ring(state + 8 * _BELL)
    _take_parts(state, 0)
    _set(state + 8 * _OPEN, 0)
    looks = 0
    while _get(state + 8 * _INSIDE) != 0:
        _pause()
        looks += 1
        if looks % _PATIENCE == 0:
            _yield()


class Pool:
    """The helpers of this process.

    Attributes:
        count: threads that kernels use, the caller's included: the fewest of what OMP_NUM_THREADS,
            OPENBLAS_NUM_THREADS, NUMBA_NUM_THREADS and the processors allow.
        state: the address of the memory that the threads share.
        turn: to be held from the writing of the settings until the job is done.
    """

    def __init__(self) -> None:
        counts = [
            numba.config.NUMBA_NUM_THREADS,
            *filter(None, map(_asked, ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"))),
        ]
        self.count = min(counts)
        self.turn = threading.Lock()
        self._started, self._jobs = False, 0
        self._library = ctypes.CDLL(None, use_errno=True)
        self._library.calloc.restype = ctypes.c_void_p
        # never freed: a helper may look there while the process ends
        self.state = -(-self._library.calloc(1, 8 * (_SETTINGS + WORDS) + 64) // 64) * 64
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def number(self, shared: bool, jobs: int = 1) -> int:
        """What :func:`run` needs to have a job shared, the first of so many numbers in a row for several ``jobs``.

        0 if it is not to be shared, or there are no helpers.
        """
        if not shared or self.count == 1:
            return 0
        if not self._started:
            self._start()
        first = self._jobs + 1
        self._jobs += jobs
        return first

    def _start(self) -> None:
        if self._library.sem_init(ctypes.c_void_p(self.state + 8 * _BELL), 0, 0):
            raise OSError(ctypes.get_errno(), "sem_init failed")
        for who in range(1, self.count):
            threading.Thread(target=_help, args=(self.state, who), name=f"kernels-{who}", daemon=True).start()
        self._started = True

    def _forked(self) -> None:
        """A forked process has none of its parent's threads."""
        self.count, self.turn = 1, threading.Lock()


def _asked(variable: str) -> int | None:
    """The number of threads that an environment variable asks for."""
    first = os.environ.get(variable, "").partition(",")[0].strip()
    return (int(first) or None) if first.isdecimal() else None


pool = Pool()


@compiled(types.void(*[types.int64] * 4, types.UniTuple(types.int64, WORDS)))
def _launch(state: int, kernel: int, parts: int, number: int, words: tuple[int, ...]) -> None:
    prepare(state, words)
    run(state, kernel, parts, number)


def share(kernel: Any, parts: int, shared: bool, *words: int) -> None:
    """Have all parts of a job made, by all threads if it is to be ``shared``: if it is worth waking them."""
    with pool.turn:
        given = (*map(int, words), *[0] * (WORDS - len(words)))
        _launch(pool.state, kernel.address, parts, pool.number(shared), given)
