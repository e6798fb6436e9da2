"""Many values as one parameter: PostgreSQL's arrays, as text that it reads at once."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from typing_extensions import override

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


class Array(sa.types.UserDefinedType[str]):
    """An array as ``as_array`` writes it, cast where it is bound: it is read once, not by row."""

    cache_ok = True
    render_bind_cast = True

    def __init__(self, of: str) -> None:
        self.of = of

    @override
    def get_col_spec(self, **_: object) -> str:
        """Its name in SQL."""
        return f"{self.of}[]"


def name_of(kind: sa.types.TypeEngine[Any]) -> str:
    """Name a type in SQL, without its collation."""
    return re.sub(r" COLLATE .*", "", kind.compile(dialect=_DIALECT))


def as_array(values: tuple[Any, ...]) -> str:
    """Write values as PostgreSQL writes an array; the driver would take each one by itself."""
    found = next((value for value in values if value is not None), None)
    if isinstance(found, int):
        words = ["NULL" if value is None else str(value) for value in values]
    elif isinstance(found, bytes):
        words = ["NULL" if value is None else rf'"\\x{value.hex()}"' for value in values]
    else:
        words = ["NULL" if value is None else f'"{value}"' for value in values]
        if any("\\" in word or '"' in word[1:-1] for word in words):
            words = ["NULL" if value is None else _quoted(value) for value in values]
    return "{" + ",".join(words) + "}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def with_arrays(insert: sa.Insert, columns: tuple[str, ...]) -> str:
    """Write an INSERT that takes its rows from arrays, in place of a list of values."""
    table = insert.table
    compiled = str(insert.compile(dialect=_DIALECT, column_keys=list(columns)))
    types = [name_of(table.columns[name].type) for name in columns]
    arrays = ", ".join(f"%s::{each}[]" for each in types)
    names = ", ".join(f'"{name}"' for name in columns)
    head = f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays})"  # noqa: S608
    conflict = compiled.partition(" ON CONFLICT ")
    return head + "".join(conflict[1:]) if conflict[1] else head


def deleting(table: sa.Table, columns: tuple[str, ...]) -> str:
    """Write a DELETE of the rows whose columns have the values in arrays."""
    arrays = ", ".join(f"%s::{name_of(table.columns[name].type)}[]" for name in columns)
    names = ", ".join(f'"{name}"' for name in columns)
    matching = " AND ".join(f'{table.name}."{name}" = gone."{name}"' for name in columns)
    return (
        f"DELETE FROM {table.name} USING unnest({arrays}) AS gone ({names})"  # noqa: S608  ours
        f" WHERE {matching}"
    )
