"""What the machine itself can do: a fixed matrix product in each round, a large product and a large copy for the roof.

tinygrad_hw chooses NumPy's BLAS kernels here, as in its own process.
"""

from __future__ import annotations

import time
from typing import Any

from tinygrad_hw.backend import parse_device, synchronize

SIDE, LARGE, COPIED = 768, 3072, 2**28  # rows and columns; bytes
SAMPLES = 5


class Control:
    """Calling it multiplies two float32 matrices of side 768, about what a layer asks for."""

    def __init__(self, device: str) -> None:
        backend, self.device = parse_device(device)[0], device
        self.xp = backend.module
        self.left, self.right = (self.xp.full((SIDE, SIDE), 0.5, dtype="float32") for _ in range(2))
        self.out = self.xp.empty_like(self.left)

    def __call__(self) -> Any:
        return self.xp.matmul(self.left, self.right, out=self.out)

    def wait(self) -> None:
        synchronize(self.device)

    def roof(self) -> dict[str, float]:
        """The most seen in a few tries: operations a second of a product of side 3072, bytes a second of a copy
        (read and written) of 256 MiB."""
        xp = self.xp
        left, right = (xp.full((LARGE, LARGE), 0.5, dtype="float32") for _ in range(2))
        product = xp.empty_like(left)
        source = xp.zeros(COPIED, dtype="uint8")
        target = source.copy()
        flops = 2 * LARGE**3 / self._least(lambda: xp.matmul(left, right, out=product))
        return {"flops": flops, "bytes": 2 * COPIED / self._least(lambda: xp.copyto(target, source))}

    def _least(self, work: Any) -> float:
        seconds = []
        for _ in range(SAMPLES + 1):
            start = time.perf_counter()
            work()
            self.wait()
            seconds.append(time.perf_counter() - start)
        return min(seconds[1:])
