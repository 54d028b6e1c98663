"""Each kind of value that a stage may put into an event has one plain form."""

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest

from gpu_nx47.journal.encoding import compact, plain


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    z: int
    path: Path


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.arange(3, dtype=np.uint8), [0, 1, 2]),
        (Path("a/b"), "a/b"),
        ((1, (2, "x")), [1, [2, "x"]]),
        ({3, 1}, [1, 3]),
        (b"\x01\xff", "01ff"),
        (Colour.RED, "red"),
        (Point(1, Path("p")), {"z": 1, "path": "p"}),
        ({1: {"a": None}}, {"1": {"a": None}}),
        ([float("nan"), float("inf"), -np.inf], ["NaN", "Infinity", "-Infinity"]),
    ],
)
def test_each_kind_of_value_has_one_plain_form(value, expected):
    found = plain(value)
    assert found == expected
    assert json.loads(compact(found)) == expected
    assert type(found) is type(expected)
