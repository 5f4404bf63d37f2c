"""Images in another size, as a layer."""

from __future__ import annotations

from typing import Any

from tinygrad_hw import functional as F
from tinygrad_hw.functional.upsampling import check_settings
from tinygrad_hw.nn.module import Module


class Upsample(Module):
    """Images (N, C, H, W) or sequences (N, C, L) in another size: see :func:`tinygrad_hw.functional.interpolate`.

    Args:
        size: the new one, an integer or one for each axis;
        scale_factor: or by how much it grows, a number or one for each axis.
        mode: "nearest", "bilinear" for images, "linear" for sequences.
        align_corners: of the last two; whether the first and the last pixels coincide.

    Raises as that function: here for settings that make no sense, when called for ones that do not fit the images.
    """

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
    ) -> None:
        super().__init__()
        check_settings("Upsample", size, scale_factor, mode, align_corners)
        self.size, self.mode, self.align_corners = size, mode, align_corners
        several = isinstance(scale_factor, (tuple, list))
        self.scale_factor = (
            None if scale_factor is None else tuple(map(float, scale_factor)) if several else float(scale_factor)
        )

    def forward(self, x: Any) -> Any:
        return F.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        how = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{how}, mode={self.mode!r}"
