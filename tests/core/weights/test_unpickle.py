"""The pickle machine: data comes back, everything else is refused, nothing is called."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from inv3d.core.weights.unpickle import Budget, Instance, Refused, Window, load
from tests.pickles import Built, Call, Name, Raw, dump

VALUES = {
    "numbers": [0, 1, 255, 256, 70000, -1, 2**40, 2.5],
    "others": (None, True, False, "text", "ü", b"bytes" * 1000, set(), {"a"}, ()),
    "nested": {"a": [{"b": (1, (2, (3, [])))}], 7: {}},
    "shared": [["x"] * 2] * 3,
}


def read(data: bytes, **names: Any) -> Any:
    return load(Window(data), {name.replace("__", "."): maker for name, maker in names.items()})


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_data_comes_back(protocol: int) -> None:
    values = VALUES if protocol > 3 else {"nested": VALUES["nested"]}  # earlier sets have names
    assert read(pickle.dumps(values, protocol)) == values


def test_names_of_the_table_make_what_it_says() -> None:
    data = dump([Call(Name("a", "f"), (1, 2)), Built(Name("a", "C"), {"x": 1})])
    made = read(data, a__f=sum, a__C=lambda arguments: Instance("C"))
    assert made[0] == 3 and isinstance(made[1], Instance) and made[1].state == {"x": 1}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Call(Name("posix", "system"), ("true",)), r"names posix\.system"),
        (Name("builtins", "eval"), r"names builtins\.eval"),
        (Raw(b"\x8c\x05posix\x8c\x06system\x93"), r"names posix\.system"),
        (Raw(b"\x8c\x05po\nix\x8c\x06system\x93"), r"names po\?ix\.system"),
        (Raw(b"(S'true'\niposix\nsystem\n"), "opcode STRING"),
        (Raw(b"iposix\nsystem\n"), "opcode INST"),
        (Raw(b"\x82\x01"), "opcode EXT1"),
        (Raw(b"N2"), "opcode DUP"),
        (Raw(b"}N]s"), "a NoneType as a key|as a key"),
        (Raw(b"})Ns"), "a tuple as a key"),
        (Raw(b"NNR"), r"damaged: NoneType stands where"),
        (Raw(b"]Nb"), "gives a list a state"),
        (Raw(b"NQ"), "persistent id"),
        (Raw(b"h\x05"), "entry 5 of the memo"),
        (Raw(b"00"), "opcode POP"),
        (Raw(b"t"), "a mark is missing"),
        (Raw(b"(\x85"), "more from the stack"),
        (Raw(b"\x8a\xff" + b"\x7f" * 255), "an integer of"),
        (Raw(b"\x8e" + (10**11).to_bytes(8, "little")), "cut short"),
        (Raw(b"X\xff\xff\xff\x7fabc"), "cut short"),
        (Raw(b"\xf0"), "damaged"),
        (Raw(b"\x80\x22"), "protocol 34"),
    ],
)
def test_all_else_is_refused(value: Any, message: str) -> None:
    with pytest.raises(Refused, match=message) as caught:
        read(dump(value))
    assert "\n" not in str(caught.value)


def test_a_file_that_ends_early_is_refused_wherever_it_ends() -> None:
    data = pickle.dumps(VALUES, 4)
    for end in range(len(data)):
        with pytest.raises(Refused):
            read(data[:end])


@pytest.mark.parametrize(
    "bomb",
    [
        b"]" * 20_000 + b"a" * 19_999,
        b")" + b"\x85" * 20_000,
        b"(" * 20_000 + b"t" * 20_000,
        b"N" + b"}X\x00\x00\x00\x00" * 20_000 + b"N" + b"s" * 20_000,
    ],
    ids=["lists", "tuples", "marks", "dicts"],
)
def test_depth_costs_nothing(bomb: bytes) -> None:
    read(dump(Raw(bomb)))


def test_work_is_limited() -> None:
    with pytest.raises(Refused, match="more opcodes"):
        load(Window(dump([None] * 100)), {}, budget=Budget(opcodes=50))
    with pytest.raises(Refused, match="more text"):
        load(Window(dump(["abcdef"] * 10)), {}, budget=Budget(text=50))


def test_nothing_is_called(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data = dump(Call(Name("posix", "mkdir"), (str(canary),)))
    with pytest.raises(Refused):
        read(data)
    assert not canary.exists()
    pickle.loads(data)  # that it would have been
    assert canary.exists()
