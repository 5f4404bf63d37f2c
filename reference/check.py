"""``python -m reference check module:function``: is a gradient written by hand the derivative of its function?

Protocol. The module is imported from the current folder, as ``python -m`` does. ``function(*args)`` takes NumPy arrays
and returns a number or an array. Its gradient is another function of the module:

    function_grad(*args)       for a function of one number: the gradient of each array argument, a tuple if several
    function_vjp(g, *args)     for any function: the same, of the sum of g times the value; g has the value's shape

or the one named by ``--grad`` or ``--vjp`` (with ``module:`` in front if it is elsewhere). Where both exist, both are
checked. Only float64 arrays are differentiated; integer arrays (labels, indices), numbers and everything else are
passed on as they are, and the gradient may hold None for them or leave them out.

Inputs are one standard normal array for each ``--shape`` (``--shape 3,4 --shape 4``; ``--shape "()"`` is one number),
or else what the module calls ``function_inputs``, ``check_inputs`` or ``inputs``: the arguments as a tuple, or a
function that returns them. Choose them away from kinks and poles, and no two axes of one size.

Every entry is compared with finite differences, and with the complex step where the function takes complex numbers and
is analytic. Of an argument of more than ``--entries`` entries that many are compared, drawn at random, and ten random
directions, in which every entry counts.

Exit status: 0 every gradient passed; 1 one failed, or is zero everywhere so that nothing was tested; 2 the check could
not be made, and one line says why.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from reference.verdict import Refusal, Verdict, examine

Arguments = tuple[Any, ...]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refusal(message)


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.strip().strip("()").replace(",", " ").split()
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise argparse.ArgumentTypeError(f"expected positive sizes such as 3,4 or (), got {text!r}")
    return tuple(map(int, sizes))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m reference check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="module:function", help="the function whose gradient is checked")
    named = parser.add_mutually_exclusive_group()
    named.add_argument("--grad", metavar="[module:]name", help="its gradient, in the form grad(*args)")
    named.add_argument("--vjp", metavar="[module:]name", help="its gradient, in the form vjp(g, *args)")
    parser.add_argument("--shape", type=_shape, action="append", metavar="3,4", help="of one argument; repeat for more")
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs and directions (default 0)")
    parser.add_argument("--rtol", type=float, default=1e-6, help="relative error allowed to an entry (default 1e-6)")
    parser.add_argument("--entries", type=int, default=1000, help="entries compared of one argument (default 1000)")
    options = parser.parse_args(argv)
    if options.seed < 0 or options.entries < 1 or not 0 < options.rtol < 1e-3:
        raise Refusal("expected --seed at least 0, --entries at least 1 and --rtol above 0 and below 1e-3")
    return options


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise Refusal(f"cannot import {name!r}: {type(error).__name__}: {error}") from error


def _function(module: Any, name: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if not callable(found):
        raise Refusal(f"module {module.__name__!r} has no function {name!r}")
    return found


def _gradients(module: Any, name: str, options: argparse.Namespace) -> list[tuple[str, Callable[..., Any], bool]]:
    """The gradient functions to check: their name, themselves, and whether they take a cotangent first."""
    if options.grad or options.vjp:
        place, colon, own = (options.grad or options.vjp).rpartition(":")
        return [(own, _function(_module(place) if colon else module, own), bool(options.vjp))]
    found = [(f"{name}{ending}", ending == "_vjp") for ending in ("_grad", "_vjp")]
    present = [(own, _function(module, own), vjp) for own, vjp in found if hasattr(module, own)]
    if not present:
        raise Refusal(f"module {module.__name__!r} has neither {name}_grad nor {name}_vjp: name one by --grad or --vjp")
    return present


def _inputs(module: Any, name: str, options: argparse.Namespace) -> Arguments:
    if options.shape:
        generator = np.random.default_rng(options.seed)
        return tuple(np.asarray(generator.standard_normal(shape)) for shape in options.shape)
    for source in (f"{name}_inputs", "check_inputs", "inputs"):
        if hasattr(module, source):
            given = getattr(module, source)
            try:
                given = given() if callable(given) else given
            except Exception as error:
                raise Refusal(f"{source}() raised {type(error).__name__}: {error}") from error
            return tuple(given) if isinstance(given, tuple | list) else (given,)
    raise Refusal(f"no inputs: give a --shape for each argument, or let {module.__name__!r} define {name}_inputs()")


def _names(function: Callable[..., Any], count: int) -> list[str]:
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = []
    return [names[k] if k < len(names) else f"argument {k}" for k in range(count)]


def _check(options: argparse.Namespace) -> list[Verdict]:
    place, colon, name = options.target.partition(":")
    if not (place and colon and name):
        raise Refusal(f"expected module:function, got {options.target!r}")
    module = _module(place)
    function = _function(module, name)
    args = _inputs(module, name, options)
    verdicts = []
    for own, gradient, vjp in _gradients(module, name, options):

        def report(verdict: Verdict, own: str = own) -> None:
            print(f"{own}: {verdict}")

        names = _names(function, len(args))
        verdicts += examine(function, gradient, args, vjp, names, options.seed, options.rtol, options.entries, report)
    return verdicts


def main(argv: Sequence[str]) -> int:
    """The command with its arguments (without "check"); returns the exit status."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the oracles step out of domains and cast complex numbers on purpose
            verdicts = _check(_parse(argv))
    except Refusal as refusal:
        print("check: " + " ".join(str(refusal).split()), file=sys.stderr)
        return 2
    passed = sum(verdict.passed for verdict in verdicts)
    print(f"{passed} of {len(verdicts)} gradients passed")
    return 0 if passed == len(verdicts) else 1
