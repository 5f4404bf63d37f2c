"""The table of operations: every family's records, by name."""

from __future__ import annotations

import importlib
import pkgutil

from reference.table.record import Call, Failure, Record, call

__all__ = ["Call", "Failure", "Record", "call", "records"]


def records() -> dict[str, Record]:
    """All records by operation name; raises ValueError when two records describe one operation."""
    table: dict[str, Record] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda m: m.name):
        for record in getattr(importlib.import_module(f"{__name__}.{module.name}"), "RECORDS", ()):
            if record.name in table:
                raise ValueError(f"two records for the operation {record.name!r}")
            table[record.name] = record
    return table
