"""Java arrays as a whole: picked from, flattened, mapped, compared.

No value crosses into Python one by one, and no class has to be compiled: what runs for each element is a method handle
of Java's own, behind one of its functional interfaces.
"""

from __future__ import annotations

import functools
from itertools import accumulate
from typing import Any

import jpype
import pyarrow as pa
import pyarrow.compute as pc

# Kinds of values, and the element type of an array of them: Pinot's stored types, and the ids of a dictionary.
ELEMENT = {
    "DICT_ID": jpype.JInt,
    "INT": jpype.JInt,
    "LONG": jpype.JLong,
    "FLOAT": jpype.JFloat,
    "DOUBLE": jpype.JDouble,
    "STRING": "java.lang.String",
    "BIG_DECIMAL": "java.math.BigDecimal",
    "BYTES": jpype.JByte,
    "MAP": "java.util.Map",
}
# Guava's helpers for arrays of primitives.
_PRIMITIVES = {"DICT_ID": "Ints", "INT": "Ints", "LONG": "Longs", "FLOAT": "Floats", "DOUBLE": "Doubles"}
# Of what is handed to Arrow and back: the type there, and the format of Python's buffer.
_ARROW: dict[str, tuple[Any, Any]] = {
    "DICT_ID": (pa.int32(), "i"),
    "INT": (pa.int32(), "i"),
    "LONG": (pa.int64(), "q"),
    "FLOAT": (pa.float32(), "f"),
    "DOUBLE": (pa.float64(), "d"),
}


@functools.cache
def java(name: str) -> Any:
    """A Java class."""
    return jpype.JClass(name)


@functools.cache
def lookup() -> Any:
    """Finds handles of public methods."""
    return java("java.lang.invoke.MethodHandles").publicLookup()


def method_type(result: Any, *parameters: Any) -> Any:
    """The type of a method, of `java.lang.Class` objects."""
    return java("java.lang.invoke.MethodType").methodType(result, list(parameters))


def function(interface: str, handle: Any) -> Any:
    """A handle as one of the interfaces of `java.util.function`."""
    proxies = java("java.lang.invoke.MethodHandleProxies")
    return proxies.asInterfaceInstance(java(f"java.util.function.{interface}").class_, handle)


def new_array(kind: str, size: int, *, nested: bool = False) -> Any:
    """An array of a kind of values, or of arrays of them."""
    return jpype.JArray(ELEMENT[kind], 1 + nested + (kind == "BYTES"))(size)


def row_numbers(start: int, end: int) -> Any:
    """`start` to `end`, without the end, as an `int[]`."""
    return java("java.util.stream.IntStream").range(start, end).toArray()


def pick(kind: str, values: Any, at: Any, *, nested: bool = False) -> Any:
    """The elements of an array at the places in an `int[]`, in that order."""
    if kind in _ARROW and not nested:
        return to_java(to_arrow(kind, values).take(to_arrow("INT", at)), kind)
    getter = java("java.lang.invoke.MethodHandles").arrayElementGetter(values.getClass()).bindTo(values)
    as_object = getter.asType(method_type(java("java.lang.Object").class_, _int()))
    stream = java("java.util.stream.IntStream").of(at)
    found = stream.mapToObj(function("IntFunction", as_object)).toArray()
    return java("java.util.Arrays").copyOf(found, len(found), values.getClass())


def joined(kind: str, parts: Any, *, nested: bool = False) -> Any:
    """The elements of arrays one after the other."""
    if kind in _PRIMITIVES and not nested:
        return java(f"com.google.common.primitives.{_PRIMITIVES[kind]}").concat(parts)
    arrays = java("java.util.Arrays")
    found = arrays.stream(parts).flatMap(_streamed()).toArray()
    return arrays.copyOf(found, len(found), new_array(kind, 0, nested=nested).getClass())


@functools.cache
def _streamed() -> Any:
    stream, array = java("java.util.stream.Stream").class_, java("[Ljava.lang.Object;").class_
    handle = lookup().findStatic(java("java.util.Arrays").class_, "stream", method_type(stream, array))
    objects = java("java.lang.Object").class_
    return function("Function", handle.asType(method_type(objects, objects)))


def lengths(arrays: Any) -> Any:
    """The lengths of arrays, as an `int[]`."""
    element = _length(str(arrays.getClass().getComponentType().getName()))
    return java("java.util.Arrays").stream(arrays).mapToInt(element).toArray()


@functools.cache
def _length(array_type: str) -> Any:
    handle = java("java.lang.invoke.MethodHandles").arrayLength(java(array_type).class_)
    return function("ToIntFunction", handle.asType(method_type(_int(), java("java.lang.Object").class_)))


def mapped(values: Any, handle: Any) -> Any:
    """What a handle from object to object makes of each element, as an `Object[]`."""
    return java("java.util.Arrays").stream(values).map(function("Function", handle)).toArray()


def first_difference(kind: str, was: Any, now: Any) -> int | None:
    """Where two arrays differ first. NaN equals NaN, and 0.0 does not equal -0.0."""
    arrays = java("java.util.Arrays")
    if kind == "BYTES":
        if arrays.deepEquals(was, now):
            return None
        count = min(len(was), len(now))
        return next((i for i in range(count) if not arrays.equals(was[i], now[i])), count)
    found = int(arrays.mismatch(was, now))
    return None if found < 0 else found


def ones(like: Any) -> Any:
    """As many ones as an `int[]` has elements."""
    found = like.clone()
    java("java.util.Arrays").fill(found, 1)
    return found


def places(values: Any, of: Any, *, others: bool = False) -> Any:
    """Where in an `int[]` one of the numbers of another one is, or is not, ascending."""
    there = pc.is_in(to_arrow("INT", values), value_set=to_arrow("INT", of))
    return to_java(pc.indices_nonzero(pc.invert(there) if others else there))


def is_permutation(order: Any) -> bool:
    """Whether each number below the length of an `int[]` is in it, once."""
    copy = order.clone()
    java("java.util.Arrays").sort(copy)
    return bool(java("java.util.Arrays").equals(copy, row_numbers(0, len(copy))))


def to_arrow(kind: str, values: Any) -> pa.Array:
    """An array of primitives, for Arrow."""
    return pa.Array.from_buffers(_ARROW[kind][0], len(values), [None, pa.py_buffer(memoryview(values))])


def to_java(values: pa.Array, kind: str = "INT") -> Any:
    """Values of Arrow's, none of them null, as an array of a kind; indices as an `int[]`."""
    arrow_type, form = _ARROW[kind]
    values = values.cast(arrow_type)
    width = arrow_type.bit_width // 8
    data = memoryview(values.buffers()[1])[values.offset * width : (values.offset + len(values)) * width]
    return jpype.JArray(ELEMENT[kind])(data.cast(form))


def row_of(at: int, counts: Any) -> int:
    """The row of a flattened value, by the number of values in each row."""
    return next(row for row, end in enumerate(accumulate(counts)) if at < end)


def _int() -> Any:
    return java("java.lang.Integer").TYPE
