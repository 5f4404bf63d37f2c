"""What the operations on images have in common: sequences and single images as batches of images, and sizes."""

from __future__ import annotations

from typing import Any

from tinygrad_hw.functional.checks import check_floating
from tinygrad_hw.kernels.images import Pair

Sizes = int | tuple[int, ...]  # one for all axes or one for each


def pair(sizes: tuple[int, ...], missing: int) -> Pair:
    """Sizes of the last axes, as those of height and width; ``missing`` is the height of sequences."""
    height, width = (missing,) * (2 - len(sizes)) + sizes
    return height, width


def image_size(name: str, x: Any, axes: int) -> Pair:
    """Height (1 for sequences) and width of images; raises where ``x`` is not floating, or is none of ``axes`` axes."""
    check_floating(name, x)
    if x.ndim not in (axes + 1, axes + 2) or 0 in x.shape[-axes - 1 :]:
        expected = "(N, C, L) or (C, L)" if axes == 1 else "(N, C, H, W) or (C, H, W)"
        raise ValueError(f"{name}: expected a shape {expected}, none but N zero, got {tuple(x.shape)}")
    return pair(tuple(x.shape[-axes:]), 1)


def checked_images(name: str, x: Any, axes: int) -> Any:
    """:func:`as_images`; raises as :func:`image_size`."""
    image_size(name, x, axes)
    return as_images(x, axes)


def as_images(x: Any, axes: int) -> Any:
    """``x``, of whose last axes ``axes`` are an image's, as (N, C, H, W), with N and H of 1 where it has none."""
    if x.ndim == axes + 2 == 4:
        return x
    batch = x.shape[: -axes - 1] or (1,)
    return x.reshape((*batch, x.shape[-axes - 1], *(1,) * (2 - axes), *x.shape[-axes:]))


def like(y: Any, x: Any, axes: int) -> Any:
    """``y`` (N, C, H, W) with as many axes as ``x`` has: undoes :func:`as_images`."""
    return y if x.ndim == axes + 2 == 4 else y.reshape((*y.shape[:2], *y.shape[4 - axes :])[-x.ndim :])
