"""Reads a pickle as data: containers, texts and numbers are built, nothing is imported and nothing is called.

Python's own unpickler imports what a pickle names and calls it, and even a restricted one allocates what a few bytes
tell it to. Here the pickle's instructions are parsed by the standard library's ``pickletools`` and carried out by a
small machine that knows no Python object beyond plain ones.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

# A state dict takes some fifty a tensor. Bounds time and memory: each instruction makes at most one small object.
_MOST_INSTRUCTIONS = 1_000_000

_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}


@dataclass(frozen=True)
class Name:
    """A class or function that the pickle names; never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Instance:
    """An object of a class that the pickle names, as data."""

    of: Name
    state: dict[str, Any] = field(default_factory=dict)


class Readable(Protocol):
    """What :mod:`pickletools` reads from; ``read`` must not allocate more than there is."""

    def read(self, count: int, /) -> bytes: ...
    def readline(self) -> bytes: ...


def load(
    stream: Readable, call: Callable[[Name, tuple[Any, ...]], Any], persistent: Callable[[Any], Any] | None = None
) -> Any:
    """The object in a pickle.

    Args:
        stream: positioned at the pickle, and behind it afterwards.
        call: what stands for a call of a named class or function with these arguments; raises WeightsError to refuse.
        persistent: what stands for a persistent id.

    Returns:
        Plain values, lists (also for sets), tuples, dicts with text keys (numbers become text), and what ``call`` and
        ``persistent`` returned. Containers may contain each other and themselves.

    Raises:
        ValueError, LookupError, TypeError: it is damaged, or no pickle.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        mark = marks.pop()
        items = stack[mark:]
        del stack[mark:]
        return items

    def construct(what: Any, arguments: Any) -> Any:
        if not isinstance(what, Name) or not isinstance(arguments, tuple):
            raise ValueError("its pickle calls what cannot be called")
        return call(what, arguments)

    for count, (code, argument, _) in enumerate(pickletools.genops(stream)):  # type: ignore[arg-type]
        if count > _MOST_INSTRUCTIONS:
            raise ValueError("its pickle is far longer than tensors need")
        match code.name:
            case "PROTO" | "FRAME":
                pass
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(code.name == "NEWTRUE")
            case name if name in _LITERALS:
                stack.append(argument)
            case "MARK":
                marks.append(len(stack))
            case "POP":
                if marks and marks[-1] == len(stack):
                    marks.pop()
                else:
                    stack.pop()
            case "POP_MARK":
                since_mark()
            case "DUP":
                stack.append(stack[-1])
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[_small(argument)] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[_small(argument)])
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_TUPLE":
                stack.append(())
            case "LIST" | "FROZENSET":
                stack.append(since_mark())
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                length = int(code.name[-1])
                stack[-length:] = [_tuple(stack[-length:], length)]
            case "DICT":
                stack.append(_fill({}, since_mark()))
            case "APPEND":
                item = stack.pop()
                _extend(stack[-1], [item])
            case "APPENDS" | "ADDITEMS":
                items = since_mark()
                _extend(stack[-1], items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _fill(stack[-1], [key, value])
            case "SETITEMS":
                items = since_mark()
                _fill(stack[-1], items)
            case "GLOBAL":
                stack.append(Name(*str(argument).split(" ", 1)))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(Name(str(module), str(attribute)))
            case "REDUCE" | "NEWOBJ":
                arguments, what = stack.pop(), stack.pop()
                stack.append(construct(what, arguments))
            case "NEWOBJ_EX":
                _, arguments, what = stack.pop(), stack.pop(), stack.pop()
                stack.append(construct(what, arguments))
            case "INST":
                stack.append(call(Name(*str(argument).split(" ", 1)), tuple(since_mark())))
            case "OBJ":
                what, *rest = since_mark()
                stack.append(construct(what, tuple(rest)))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Instance) and isinstance(state, dict):
                    stack[-1].state.update(state)
            case "BINPERSID" | "PERSID" if persistent is not None:
                stack.append(persistent(stack.pop() if code.name == "BINPERSID" else argument))
            case "STOP":
                return stack.pop()
            case other:
                raise ValueError(f"its pickle has the instruction {other}, which tensors do not need")
    raise ValueError("its pickle has no end")


def _small(index: Any) -> int:
    if not isinstance(index, int) or not 0 <= index < 1 << 32:
        raise ValueError("its pickle has an impossible index")
    return index


def _tuple(items: list[Any], length: int) -> tuple[Any, ...]:
    if len(items) != length:
        raise ValueError("its pickle takes more than there is")
    return tuple(items)


def _extend(target: Any, items: list[Any]) -> None:
    # Whatever else it is (a class that call() stands in for) holds no tensors by position.
    if isinstance(target, list):
        target.extend(items)


def _fill(target: Any, items: list[Any]) -> Any:
    if len(items) % 2:
        raise ValueError("its pickle has a key without a value")
    if isinstance(target, dict):
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Text for numbers: unlike that of text, their hash can be chosen to make a dict crawl. Tensors have no
            # other keys, and what hides behind one is left out.
            if isinstance(key, str | int | float):
                target[str(key)] = value
    return target
