"""Reading pickles as data: nothing named in them is imported, called or executed.

A pickle is a program for a stack machine. `load` runs the part of it that makes plain data, over a
closed table of names whose entries are functions of ours; what a pickle calls by these names gives
inert values. Every other name or opcode is refused by name. The machine has no recursion, so depth
costs nothing, and it counts what it does, so that a small file can't make much work.
"""

from __future__ import annotations

import pickle
import pickletools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from inv3d.core.errors import plain_text

MAX_OPCODES = 1_000_000
MAX_TEXT = 64 << 20
_LONGEST_NAME = 300
_LONGEST_INT = 16
_LARGEST_KEY = 2**60
_VIEW = 4096
_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
_STOP = pickle.STOP.decode()

Maker = Callable[[tuple[Any, ...]], Any]
Names = Mapping[str, Maker]


_DAMAGE = ("damaged", "cut short")
_FETCH_AGAIN = "fetch it again from where it is published, or give another file"
OTHER_FILE = "give the network's own file, as it is published or as torch.save writes it"


class Refused(ValueError):
    """Something in a file that isn't taken; the message names it.

    Attributes:
        remedy: what to do; unless given, to fetch it again where the reason is damage.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        damaged = any(word in reason for word in _DAMAGE)
        self.remedy = remedy or (_FETCH_AGAIN if damaged else OTHER_FILE)


@dataclass(slots=True)
class Budget:
    """What reading one file may cost.

    Attributes:
        opcodes: that are left.
        text: characters that are left; what calls make counts as much as the bytes that it takes.
    """

    opcodes: int = MAX_OPCODES
    text: int = MAX_TEXT

    def spend_opcode(self) -> None:
        """Take one from what is left.

        Raises:
            Refused: where there's none.
        """
        self.opcodes -= 1
        if self.opcodes < 0:
            raise Refused("has more opcodes than any network file needs")

    def spend_text(self, size: int) -> None:
        """Take characters from what is left.

        Raises:
            Refused: where that's less.
        """
        self.text -= size
        if self.text < 0:
            raise Refused("has more text than any network file needs")


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Name:
    """A name of the table; `make` stands for what would be called by it."""

    text: str
    make: Maker


@dataclass(eq=False, repr=False, slots=True)
class Instance:
    """An object that a file describes: the name of its class, and its state as data."""

    kind: str
    state: Any = None


def never(arguments: tuple[Any, ...]) -> Any:
    """Stand for a name that may occur but mustn't be called."""
    raise Refused("calls a name that only tells a type")


class Window:
    """A buffer to read from; long reads are views, not copies."""

    def __init__(self, data: bytes | bytearray | memoryview, position: int = 0) -> None:
        self.data = memoryview(data)
        self.position = position

    def read(self, size: int) -> bytes | memoryview:
        """Return the next bytes, fewer at the end."""
        part = self.data[self.position : self.position + size]
        self.position += len(part)
        return part if len(part) >= _VIEW else bytes(part)

    def readline(self) -> bytes:
        """Return the next line, or its beginning where it's longer than any name."""
        part = bytes(self.data[self.position : self.position + _LONGEST_NAME])
        line = part[: part.find(b"\n") + 1] or part
        self.position += len(line)
        return line

    def tell(self) -> int:
        """Return the position."""
        return self.position


def load(
    file: Window, names: Names, persistent: Maker | None = None, budget: Budget | None = None
) -> Any:
    """Read one pickle from where `file` stands to its end.

    Args:
        file: the bytes.
        names: "module.name" -> function of the arguments that stands for it.
        persistent: function of a persistent id (as a tuple), where the format has any.
        budget: what is left to spend, a fresh one unless given.

    Returns:
        Plain data, `Instance`s, and what the functions return.

    Raises:
        Refused: naming what isn't taken, or where the file is damaged.
    """
    budget = budget or Budget()
    machine = _Machine(names, persistent, budget)
    try:
        unfinished = True
        while unfinished:
            budget.spend_opcode()
            unfinished = _do_next(file, machine)
    except Refused:
        raise
    except (ValueError, OverflowError) as error:
        raise Refused(f"is damaged or cut short at byte {file.position} ({error})") from None
    return machine.pop()


def _do_next(file: Window, machine: _Machine) -> bool:
    """Do what the next opcode says; false after the last one.

    An opcode that isn't taken is refused before its argument is looked at.
    """
    code = bytes(file.read(1)).decode("latin-1")
    opcode = _OPCODES.get(code)
    if opcode is None:
        raise ValueError(f"no opcode {code!r}" if code else "the end comes before that of the data")
    step = _STEPS.get(opcode.name)
    if step is None:
        raise Refused(f"uses the opcode {opcode.name}, which isn't among those for data")
    step(machine, opcode.arg.reader(file) if opcode.arg else None)  # type: ignore[arg-type]
    return code != _STOP


class _Machine:
    """Stack, marks and memo."""

    def __init__(self, names: Names, persistent: Maker | None, budget: Budget) -> None:
        self.names = names
        self.persistent = persistent
        self.budget = budget
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        self.top()
        return self.stack.pop()

    def top(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Refused("is damaged: it takes more from the stack than there is")
        return self.stack[-1]

    def pop_mark(self) -> list[Any]:
        if not self.marks:
            raise Refused("is damaged: a mark is missing")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def remember(self, key: int) -> None:
        self.memo[key] = self.top()

    def recall(self, key: int) -> None:
        if key not in self.memo:
            raise Refused(f"is damaged: entry {key} of the memo is missing")
        self.push(self.memo[key])

    def add(self, items: list[Any]) -> None:
        self.expect(self.top(), list, "a list").extend(items)

    def put(self, items: list[Any]) -> None:
        target = self.expect(self.top(), dict, "a dict")
        if len(items) % 2:
            raise Refused("is damaged: a key of a dict has no value")
        target.update(zip(map(_key, items[::2]), items[1::2], strict=True))

    def name(self, module: Any, name: Any) -> None:
        text = f"{self.expect(module, str, 'a name')}.{self.expect(name, str, 'a name')}"
        if text not in self.names:
            raise Refused(f"names {plain_text(text)}, which isn't among what a network file needs")
        self.push(Name(text, self.names[text]))

    def call(self, arguments: Any) -> None:
        target = self.expect(self.pop(), Name, "a name to call")
        made = target.make(self.expect(arguments, tuple, "arguments"))
        self.budget.spend_text(sys.getsizeof(made))  # it may be a copy
        self.push(made)

    def build(self, state: Any) -> None:
        target = self.top()
        if isinstance(target, Instance) and target.state is None:
            target.state = state
        elif not isinstance(target, dict):  # attributes of a dict mean nothing here
            raise Refused(f"is damaged: it gives a {_kind(target)} a state")

    def text(self, value: str) -> None:
        self.budget.spend_text(len(value))
        self.push(value)

    def integer(self, value: int) -> None:
        if value.bit_length() > 8 * _LONGEST_INT:
            raise Refused(f"has an integer of {value.bit_length()} bits")
        self.push(value)

    def persist(self) -> None:
        if self.persistent is None:
            raise Refused("has a persistent id, which this kind of file doesn't")
        self.push(self.persistent(self.expect(self.pop(), tuple, "a persistent id")))

    def several(self, count: int) -> tuple[Any, ...]:
        return tuple(reversed([self.pop() for _ in range(count)]))

    @staticmethod
    def expect(value: Any, kind: type, what: str) -> Any:
        if not isinstance(value, kind):
            raise Refused(f"is damaged: {_kind(value)} stands where {what} should")
        return value


def _key(value: Any) -> str | int:
    """Return a key whose hash is cheap, and not for a file to choose."""
    if isinstance(value, str) or (isinstance(value, int) and abs(value) < _LARGEST_KEY):
        return value
    raise Refused(f"has a {_kind(value)} as a key")


def _kind(value: Any) -> str:
    return value.text if isinstance(value, Name) else type(value).__name__


def _stack_global(m: _Machine) -> None:
    module, name = m.several(2)
    m.name(module, name)


def _check_protocol(number: int) -> None:
    if number > pickle.HIGHEST_PROTOCOL:
        raise Refused(f"is damaged: it says that it's a pickle of protocol {number}")


def _call_with(m: _Machine) -> None:
    m.call(m.pop())


def _add_to_set(m: _Machine) -> None:
    items = m.pop_mark()
    m.expect(m.top(), set, "a set").update(map(_key, items))


_Step = Callable[[_Machine, Any], Any]
_PUSHED = ("BININT", "BININT1", "BININT2", "BINFLOAT", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8",
           "BYTEARRAY8")  # fmt: skip
# the last one is how Python 2 wrote names
_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINSTRING")
_STEPS: dict[str, _Step] = {
    **dict.fromkeys(("FRAME", "STOP"), lambda m, a: None),
    "PROTO": lambda m, a: _check_protocol(a),
    **dict.fromkeys(_PUSHED, lambda m, a: m.push(a)),
    **dict.fromkeys(_TEXTS, lambda m, a: m.text(a)),
    "LONG1": lambda m, a: m.integer(a),
    "NONE": lambda m, a: m.push(None),
    "NEWTRUE": lambda m, a: m.push(True),
    "NEWFALSE": lambda m, a: m.push(False),
    "EMPTY_LIST": lambda m, a: m.push([]),
    "EMPTY_DICT": lambda m, a: m.push({}),
    "EMPTY_SET": lambda m, a: m.push(set()),
    "EMPTY_TUPLE": lambda m, a: m.push(()),
    "MARK": lambda m, a: m.marks.append(len(m.stack)),
    "TUPLE": lambda m, a: m.push(tuple(m.pop_mark())),
    "TUPLE1": lambda m, a: m.push(m.several(1)),
    "TUPLE2": lambda m, a: m.push(m.several(2)),
    "TUPLE3": lambda m, a: m.push(m.several(3)),
    "APPEND": lambda m, a: m.add([m.pop()]),
    "APPENDS": lambda m, a: m.add(m.pop_mark()),
    "SETITEM": lambda m, a: m.put(list(m.several(2))),
    "SETITEMS": lambda m, a: m.put(m.pop_mark()),
    "ADDITEMS": lambda m, a: _add_to_set(m),
    "BINPUT": lambda m, a: m.remember(a),
    "LONG_BINPUT": lambda m, a: m.remember(a),
    "MEMOIZE": lambda m, a: m.remember(len(m.memo)),
    "BINGET": lambda m, a: m.recall(a),
    "LONG_BINGET": lambda m, a: m.recall(a),
    "GLOBAL": lambda m, a: m.name(*a.split(" ", 1)),
    "STACK_GLOBAL": lambda m, a: _stack_global(m),
    "REDUCE": lambda m, a: _call_with(m),
    "NEWOBJ": lambda m, a: _call_with(m),
    "BUILD": lambda m, a: m.build(m.pop()),
    "BINPERSID": lambda m, a: m.persist(),
}
