"""Settings for every test: one BLAS thread (workers share the cores), and reproducible draws from hypothesis."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is first imported

import hypothesis

hypothesis.settings.register_profile("suite", deadline=None, max_examples=30, derandomize=True)
hypothesis.settings.load_profile("suite")
