"""Loaders: published layouts in, arrays out; what each experiment uses when no data folder is given."""

from .errors import DataError

__all__ = ["DataError"]
