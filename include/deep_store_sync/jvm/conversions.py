"""When a converted value is the one it was, with nothing lost.

Numbers have to be the same number exactly, whatever converted them. Text, and BIG_DECIMAL, has to be what Pinot's own
conversion makes of a value, and to name the same value. Pinot 1.5.1: PinotDataType, which loses information in silence
(its own note), so that it cannot be the measure; DataTypeTransformerUtils; PinotSegmentColumnReader, which hands
BOOLEAN on as 0 and 1, and TIMESTAMP as milliseconds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deep_store_sync.jvm.bulk import first_difference, java, joined, lengths, lookup, mapped, method_type, ones, row_of
from deep_store_sync.jvm.column_values import Values

_WHOLE = {"INT": 31, "LONG": 63}
_NUMBERS = frozenset(("INT", "LONG", "FLOAT", "DOUBLE"))
_TEXTS = frozenset(("STRING", "JSON"))
_TRUTH = (False, 0.0, 1.0)  # the new values are 0 or 1
_NAMED_NUMBERS = _NUMBERS | {"BIG_DECIMAL", "BOOLEAN", "TIMESTAMP"}

_CHANGED = "the value in row {row} was changed"
_LOST = "the value in row {row} does not fit the new data type without loss"
_OTHER = "the value in row {row} is not the same one in the new data type"


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column's data type, and how Pinot stores it: BOOLEAN as INT, TIMESTAMP as LONG, JSON as STRING."""

    data_type: str
    stored: str


@dataclass(frozen=True, slots=True)
class Rule:
    """When an old and a new value are the same: read as each of `kinds`, and made comparable, they are equal.

    `within`: and, read as DOUBLE, the old (or the new) one lies within these ends. `old_form` and `new_form` give the
    method handle that makes a text, or the BYTES that it is read as, comparable.
    """

    kinds: tuple[str, ...]
    within: tuple[bool, float, float] | None = None
    old_form: Callable[[], Any] | None = None
    new_form: Callable[[], Any] | None = None
    old_bytes: bool = False
    new_bytes: bool = False


def rules(old: ColumnType, new: ColumnType) -> tuple[Rule, ...]:
    """The rules for a change of type, one of which has to hold for all of a column; none if it cannot be judged."""
    types = {old.data_type, new.data_type}
    if old == new:
        return (Rule((old.stored,)),)
    if old.data_type in _TEXTS and new.data_type == "JSON":
        return (Rule(("STRING",), old_form=_json),)
    if types == _TEXTS:
        return (Rule(("STRING",)),)
    if {old.stored, new.stored} <= _NUMBERS:
        return (_same_number(old, new),)
    if "BYTES" in types and "STRING" in types:
        # Not read as STRING: of raw multi-values, Pinot cannot.
        if old.data_type == "BYTES":
            return (Rule(("STRING",), old_form=_hex, new_form=_lower, old_bytes=True),)
        return (Rule(("STRING",), old_form=_lower, new_form=_hex, new_bytes=True),)
    if "BOOLEAN" in types and types & _TEXTS:
        return (Rule(("STRING",), old_form=_truth, new_form=_truth),)
    if old.data_type == "TIMESTAMP" and new.data_type == "STRING":
        return Rule(("STRING",)), Rule(("STRING",), old_form=_written_time)
    if old.data_type == "STRING" and new.data_type == "TIMESTAMP":
        return (Rule(("STRING",), old_form=_time, new_form=_time_of_millis),)
    if types <= _NAMED_NUMBERS | _TEXTS:
        if new.data_type == "STRING":
            return (Rule(("STRING",)),)
        return (Rule(("STRING",), _TRUTH if new.data_type == "BOOLEAN" else None, number_form, number_form),)
    return ()


def _same_number(old: ColumnType, new: ColumnType) -> Rule:
    """Cast both ways they are equal.

    Java's casts of what is too large for a whole number stop at its ends, so those are left out. There is no other pair
    that is equal so and not the same number.
    """
    kinds = (new.stored,) if old.stored == new.stored else (new.stored, old.stored)
    if new.data_type == "BOOLEAN":
        return Rule(kinds, _TRUTH)
    whole = _WHOLE.keys() & {old.stored, new.stored}
    if len(whole) != 1:
        return Rule(kinds)
    limit = 2.0 ** _WHOLE[whole.pop()]
    return Rule(kinds, (old.stored not in _WHOLE, -limit, limit - limit / (1 << 53)))


def difference(rule: Rule, old: Values, old_at: Any, new: Values, new_at: Any) -> tuple[int, str] | None:
    """The first place whose values are not the same, as its position in the `int[]`s, and in what way, for a `{row}`.

    Where one side has a single value at each place and the other has an array, that has to hold one value.
    """
    for number, kind in enumerate(rule.kinds):
        was, had = _flat(old, "BYTES" if rule.old_bytes else kind, old_at)
        now, has = _flat(new, "BYTES" if rule.new_bytes else kind, new_at)
        if had is not None or has is not None:
            at = first_difference("INT", ones(old_at) if had is None else had, ones(new_at) if has is None else has)
            if at is not None:
                return at, "the number of values in row {row} was changed"
        if rule.old_form is None and rule.new_form is None:
            at = first_difference(kind, was, now)
            how = _CHANGED if number == 0 else _LOST
        else:
            at, how = _difference_of_forms(rule, was, now), _OTHER
        if at is not None:
            return (at if has is None else row_of(at, has)), how
    return _outside(rule, old, old_at, new, new_at)


def _difference_of_forms(rule: Rule, was: Any, now: Any) -> int | None:
    if rule.old_form is rule.new_form and first_difference("STRING", was, now) is None:
        return None  # most often the texts are the same as they are
    was = mapped(was, rule.old_form()) if rule.old_form else was
    now = mapped(now, rule.new_form()) if rule.new_form else now
    return first_difference("OBJECT", was, now)


def _flat(values: Values, kind: str, at: Any) -> tuple[Any, Any]:
    """The values at some places one after the other, and how many there are at each, if that is not one."""
    found = values.read(kind, at)
    if values.single:
        return found, None
    return joined(kind, found), lengths(found)


def _outside(rule: Rule, old: Values, old_at: Any, new: Values, new_at: Any) -> tuple[int, str] | None:
    if rule.within is None:
        return None
    of_old, lowest, highest = rule.within
    numbers, counts = _flat(old, "DOUBLE", old_at) if of_old else _flat(new, "DOUBLE", new_at)
    found = java("java.util.stream.DoubleStream").of(numbers).summaryStatistics()
    if not len(numbers) or (found.getMin() >= lowest and found.getMax() <= highest):
        return None
    at = next(i for i, number in enumerate(numbers) if not lowest <= number <= highest)
    return (at if counts is None else row_of(at, counts)), _LOST


def _object() -> Any:
    return java("java.lang.Object").class_


def _string() -> Any:
    return java("java.lang.String").class_


def _or_text(handle: Any) -> Any:
    """A handle from text to object; where it fails, the text itself, which then equals no such object."""
    handles, error = java("java.lang.invoke.MethodHandles"), java("java.lang.RuntimeException").class_
    text = handles.identity(_object()).asType(method_type(_object(), _string()))
    safe = handles.catchException(
        handle.asType(method_type(_object(), _string())), error, handles.dropArguments(text, 0, error)
    )
    return safe.asType(method_type(_object(), _object()))


def _then(first: Any, *more: Any) -> Any:
    for handle in more:
        first = java("java.lang.invoke.MethodHandles").filterReturnValue(first, handle)
    return first


def _trimmed() -> Any:
    return lookup().findVirtual(_string(), "trim", method_type(_string()))


@functools.cache
def number_form() -> Any:
    """Text as a number, whatever its notation; text that is none stays."""
    decimal = java("java.math.BigDecimal").class_
    parsed = lookup().findConstructor(decimal, method_type(java("java.lang.Void").TYPE, _string()))
    plain = lookup().findVirtual(decimal, "stripTrailingZeros", method_type(decimal))
    return _or_text(_then(_trimmed(), parsed, plain))


@functools.cache
def _lower() -> Any:
    """Text without regard to case."""
    return _or_text(_then(_trimmed(), lookup().findVirtual(_string(), "toLowerCase", method_type(_string()))))


@functools.cache
def _hex() -> Any:
    """Bytes as Pinot writes them as text."""
    utils, array = java("org.apache.pinot.spi.utils.BytesUtils").class_, java("[B").class_
    handle = lookup().findStatic(utils, "toHexString", method_type(_string(), array))
    return handle.asType(method_type(_object(), _object()))


@functools.cache
def _truth() -> Any:
    """`true` and `false` as 1 and 0, without regard to case (Pinot, BooleanUtils); other text stays."""
    words = java("java.util.Map").of("true", "1", "false", "0")
    known = lookup().findVirtual(
        java("java.util.Map").class_, "getOrDefault", method_type(_object(), _object(), _object())
    )
    twice = java("java.lang.invoke.MethodHandles").permuteArguments(
        known.bindTo(words), method_type(_object(), _object()), [0, 0]
    )
    return _or_text(_then(_lower().asType(method_type(_object(), _string())), twice))


@functools.cache
def _json() -> Any:
    """Text as Pinot writes it into a JSON column."""
    types = java("org.apache.pinot.common.utils.PinotDataType")
    handle = lookup().findVirtual(types.class_, "toJson", method_type(_string(), _object()))
    return _or_text(handle.bindTo(types.STRING))


@functools.cache
def _time() -> Any:
    """Text as the time that it names, to the nanosecond, as Pinot reads it."""
    timestamp = java("java.sql.Timestamp").class_
    parse = lookup().findStatic(
        java("org.apache.pinot.spi.utils.TimestampUtils").class_, "toTimestamp", method_type(timestamp, _string())
    )
    return _or_text(_then(_trimmed(), parse))


@functools.cache
def _time_of_millis() -> Any:
    """Milliseconds, as text, as the time that they name."""
    return _or_text(_millis())


@functools.cache
def _written_time() -> Any:
    """Milliseconds, as text, as Pinot writes a timestamp into a STRING column."""
    timestamp = java("java.sql.Timestamp").class_
    return _or_text(_then(_millis(), lookup().findVirtual(timestamp, "toString", method_type(_string()))))


def _millis() -> Any:
    number = java("java.lang.Long").TYPE
    parse = lookup().findStatic(java("java.lang.Long").class_, "parseLong", method_type(number, _string()))
    void = java("java.lang.Void").TYPE
    return _then(parse, lookup().findConstructor(java("java.sql.Timestamp").class_, method_type(void, number)))
