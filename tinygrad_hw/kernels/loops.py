"""What compiled loops over float32 arrays have in common: how they are shared, and access to arrays that are apart.

Left alone, LLVM compares the places of all arrays of a loop before it runs, and widens that to what surrounds the loop:
arrays that lie near each other may seem to overlap, and the loop runs without vector instructions, a tenth as fast. So
an access says which of the loop's arrays it is to, and that these do not overlap.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinygrad_hw.backend import Array

_ARRAYS = 16  # of one loop, at most
SHARED = 2**16  # entries from which threads are worth waking
_KINDS = {types.float32: ir.FloatType(), types.uint8: ir.IntType(8)}


def _mark(builder: Any, access: Any, number: int) -> Any:
    """Say of a load or store that it is of this array and of no other."""
    module = builder.module
    domain = module.add_metadata(["arrays"])
    scopes = [module.add_metadata([f"array {i}", domain]) for i in range(_ARRAYS)]
    access.set_metadata("alias.scope", module.add_metadata([scopes[number]]))
    access.set_metadata("noalias", module.add_metadata(scopes[:number] + scopes[number + 1 :]))
    return access


def array(kind: Any, number: int) -> tuple[Any, Any]:
    """``read(address, place)`` and ``write(address, place, value)`` for array ``number`` of a loop, of that type."""
    size = _KINDS[kind]

    def pointer(builder: Any, arguments: Any) -> Any:
        return builder.gep(builder.inttoptr(arguments[0], size.as_pointer()), [arguments[1]])

    def read(context: Any, address: Any, place: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _mark(builder, builder.load(pointer(builder, arguments)), number)

        return kind(types.int64, types.int64), codegen

    def write(context: Any, address: Any, place: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _mark(builder, builder.store(arguments[2], pointer(builder, arguments)), number)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, kind), codegen

    return intrinsic(read), intrinsic(write)


def at(array: Array | None) -> int:
    """The address of an array; 0 of None."""
    return 0 if array is None else int(array.ctypes.data)
