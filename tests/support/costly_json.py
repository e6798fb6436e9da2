"""A mebibyte of JSON each, made to cost as much as it can: what a parser must not be drawn into."""

from __future__ import annotations

import json
from typing import Any

MIB = 1024 * 1024
FIELDS: dict[str, Any] = {
    "order_id": "heavy",
    "customer_id": "c-1",
    "currency": "EUR",
    "placed_at": "2026-01-31T09:30:00Z",
}
ITEM = b'{"sku":"tea","quantity":1,"unit_price":1}'
_HEAD = json.dumps(FIELDS, separators=(",", ":")).encode()[:-1]


def heavy_bodies() -> dict[str, bytes]:
    """Bodies by what is odd in them; none is an order."""
    many = {
        **{f"items {unit.decode()}": _order(_filled(unit)) for unit in _UNITS},
        **{f"500 items {name}": _order(b",".join([unit] * 500)) for name, unit in _ITEMS.items()},
        **{f"{name} again and again": _again(unit) for name, unit in _FIELDS.items()},
        "unknown fields": _HEAD + b"," + _keys(60_000, 10) + b"}",
        "unknown fields, just few enough": _HEAD + b"," + _keys(9_900, 95) + b"}",
        "unknown fields, and no other": b"{" + _keys(9_900, 95) + b"}",
        "a list": b"[" + _filled(b"0") + b"]",
        "a list of objects": b"[" + _filled(b"{}") + b"]",
        "lists in lists": b"[" * MIB,
        "objects in objects": b'{"a":' * (MIB // 5),
        "a string": b'"' + b"x" * (MIB - 2) + b'"',
        "a string without end": _HEAD + b',"x":"' + b",[{" * (MIB // 3 - 60),
        "a long id": _HEAD.replace(b"heavy", b"a" * (MIB - 300)) + b"}",
        "a long time": _HEAD.replace(b"00Z", b"00." + b"1" * (MIB - 300)) + b"}",
        "a long name": _HEAD + b',"' + b"k" * (MIB - 200) + b'":0}',
        "a long number": _order(b"9" * (MIB - 200)),
        "escapes": _HEAD + b',"x":"' + b"\\u005b" * (MIB // 6 - 40) + b'"}',
        "quotes": _HEAD + b',"x":"' + b'\\",' * (MIB // 3 - 60) + b'"}',
        "half a pair": _HEAD + b',"x":"' + b"\\ud83d" * (MIB // 6 - 40) + b'"}',
        "no UTF-8": _HEAD + b',"x":"' + b"\xff" * (MIB - 200) + b'"}',
        "nothing": b" " * MIB,
        "zeros": b"\0" * MIB,
        "values for every field": b"{" + b",".join(map(_objects, [*FIELDS, "items", "x"])) + b"}",
    }
    return {name: body[:MIB] for name, body in many.items()}


def _order(items: bytes) -> bytes:
    return _HEAD + b',"items":[' + items + b"]}"


def _filled(unit: bytes) -> bytes:
    return b",".join([unit] * ((MIB - 300) // (len(unit) + 1)))


def _keys(count: int, width: int) -> bytes:
    return b",".join(b'"k%0*d":0' % (width, number) for number in range(count))


def _again(field: bytes) -> bytes:
    return _HEAD + b',"items":[' + ITEM + b"]," + _filled(field) + b"}"


def _objects(name: str) -> bytes:
    return b'"%s":[' % name.encode() + b",".join([b'{"%s":0}' % (b"k" * 180)] * 800) + b"]"


_UNITS = [
    *(b"{}", b"[]", b"0", b'""', b"null", b"1.5e-300", b"9" * 4200, b"[" * 190 + b"]" * 190),
    *(ITEM, b'{"sku":"","quantity":0,"unit_price":-1}', b'{"a":1,"b":1,"c":1,"d":1,"e":1}'),
]
_ITEMS = {
    "with a long sku": ITEM.replace(b"tea", b"x" * 2000),
    "with an escaped sku": ITEM.replace(b"tea", b"\\u0041" * 330),
    "with a wide sku": ITEM.replace(b"tea", "字".encode() * 660),
    "with a long number": ITEM.replace(b'y":1', b'y":' + b"9" * 2000),
    "with a long fraction": ITEM.replace(b'y":1', b'y":0.' + b"9" * 2000),
    "with unknown fields": b"{" + _keys(18, 100) + b"}",
}
_FIELDS = {"an id": b'"order_id":"a"', "items": b'"items":[' + ITEM + b"]", "nothing": b'"":0'}
