"""Paths and hypothesis settings for every test."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # workers share the cores; must come before NumPy

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent):  # the root first, so that tests/tinygrad_hw does not stand in for the engine
    if str(folder) in sys.path:
        sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))

import hypothesis  # noqa: E402

hypothesis.settings.register_profile("suite", deadline=None, max_examples=30, derandomize=True)
hypothesis.settings.load_profile("suite")
