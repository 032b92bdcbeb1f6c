"""JSON Schema (draft 2020-12), as far as the records of format 1 need it, compiled to closures.

``compile_schema`` turns a schema into a function that returns None for a value that fits, else the
place and the reason, ``.slots is not an object``. The schemas themselves are in
``tclog.event.envelopes`` and ``tclog.event.bodies``. Two things differ from JSON Schema, both
because of what a record is: a float fits nowhere, also where a schema leaves a value open, and a
``format`` is checked, by the functions in ``FORMATS``.

A sync checks millions of records, and these have few shapes. So what follows from the names and
the types of an object's fields is worked out once for each shape, and fields whose values repeat
(the names of agents, hosts, chains) are looked up together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from tclog.clock import is_day
from tclog.errors import BadName
from tclog.event.canonical import decode_json
from tclog.event.names import validate_chain, validate_name

Check = Callable[[Any], str | None]
Schema = Mapping[str, Any] | bool

# How many shapes, and how many sets of repeating values, are remembered for each schema.
_SHAPES_MAX = 256
_SEEN_MAX = 8192

_TYPES: dict[str, type] = {
    "array": list,
    "boolean": bool,
    "integer": int,
    "null": type(None),
    "object": dict,
    "string": str,
}
_NAMES: dict[type, str] = {
    list: "an array",
    bool: "a boolean",
    int: "an integer",
    type(None): "null",
    dict: "an object",
    str: "a string",
}
_LEAVES = frozenset({bool, int, str, type(None)})


def find_float(value: Any) -> str | None:
    """Return a reason if there is a float anywhere in a decoded JSON value."""
    if type(value) in _LEAVES:
        return None
    if type(value) is dict and _LEAVES.issuperset(map(type, value.values())):
        return None
    left = [value]
    while left:
        one = left.pop()
        if type(one) is float:
            return " holds a float"
        children = one.values() if type(one) is dict else one
        if not _LEAVES.issuperset(map(type, children)):
            left += [child for child in children if type(child) not in _LEAVES]
    return None


def _is_name(kind: str) -> Callable[[str], bool]:
    @lru_cache(maxsize=4096)
    def check(text: str) -> bool:
        try:
            validate_name(kind, text)
        except BadName:
            return False
        return True

    return check


_MINUTE = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-[0-3][0-9]T([01][0-9]|2[0-3]):[0-5][0-9]")


def _is_stamp(first_year: str, rest: str) -> Callable[[str], Any]:
    """Make the check of a stamp from a year on: the minutes that records are of repeat."""
    ends = re.compile(rest).fullmatch

    @lru_cache(maxsize=4096)
    def is_minute(text: str) -> bool:
        if not first_year <= text < "9000" or not _MINUTE.fullmatch(text):
            return False
        return is_day(text[:10])

    return lambda text: is_minute(text[:16]) and ends(text, 16)


def _is_recipient(text: str) -> bool:
    return text == "@all" or FORMATS["agent"](text)


def _is_json(text: str) -> bool:
    try:
        decode_json(text.encode())
    except ValueError:
        return False
    return True


# The formats of format 1 ("name" and the like are its own) and what each accepts.
FORMATS: dict[str, Callable[[str], bool]] = {
    "agent": _is_name("agent"),
    "chain": lru_cache(maxsize=4096)(validate_chain),
    "hlc": _is_stamp("2020", r":[0-5][0-9][.][0-9]{6}Z-[0-9a-f]{4}"),
    "hour": lambda text: is_day(text[:10]),
    "json": _is_json,
    "name": _is_name("key"),
    "recipient": _is_recipient,
    "stamp": _is_stamp("1970", r":[0-5][0-9][.][0-9]{6}Z"),
    "step": _is_name("step"),
}
# These check all that the pattern beside them says, which is there for other programs.
_WHOLE = ("hlc", "stamp")


def compile_schema(schema: Schema, defs: Mapping[str, Schema]) -> Check:
    """Make the function that checks a value; ``defs`` holds what a ``$ref`` names."""
    return _Compiler(defs).compile(schema)


class _Compiler:
    def __init__(self, defs: Mapping[str, Schema]) -> None:
        self._defs = defs

    def resolve(self, schema: Schema) -> Schema:
        """Follow a reference, which stands alone in its schema."""
        while isinstance(schema, Mapping) and "$ref" in schema:
            schema = self._defs[schema["$ref"].removeprefix("#/$defs/")]
        return schema

    def compile(self, schema: Schema) -> Check:
        """Make the check of a value of any type."""
        made = self.by_type(schema)
        if not isinstance(made, dict):
            return made
        wrong = f" is not {' or '.join(_NAMES[kind] for kind in made)}"

        def check(value: Any) -> str | None:
            look = made.get(type(value), _unfit)
            if look is _unfit:
                return wrong
            return None if look is None else look(value)

        return check

    def by_type(self, schema: Schema) -> Check | dict[type, Check | None]:
        """Return for each type that is allowed what looks at its values; None if nothing has to.

        Where the type does not decide it is one check for all.
        """
        schema = self.resolve(schema)
        if schema is False:
            return _unfit
        if schema is True or not isinstance(schema, Mapping):
            return find_float
        if "anyOf" in schema:
            return self._any_of(schema)
        if "const" in schema:
            return _enum([schema["const"]])
        if "enum" in schema:
            return _enum(schema["enum"])
        if "type" not in schema:
            return find_float
        return {_TYPES[kind]: self._typed(kind, schema) for kind in _listed(schema["type"])}

    def _typed(self, kind: str, schema: Mapping[str, Any]) -> Check | None:
        """Return what looks at a value whose type is right; None if nothing has to."""
        match kind:
            case "object":
                return _Object(self, schema).check
            case "array":
                return self._array(schema)
            case "string":
                return _string(schema)
            case "integer":
                return _integer(schema)
        return None

    def _any_of(self, schema: Mapping[str, Any]) -> Check:
        forms = [self.compile(form) for form in schema["anyOf"]]

        def check(value: Any) -> str | None:
            for form in forms:
                if form(value) is None:
                    return None
            return " fits none of the allowed forms"

        return check

    def _array(self, schema: Mapping[str, Any]) -> Check:
        first = [self.compile(one) for one in schema.get("prefixItems", ())]
        leading, item = len(first), self.compile(schema.get("items", True))
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        unique = schema.get("uniqueItems", False)

        def check(value: list[Any]) -> str | None:
            count = len(value)
            if count < least or (most is not None and count > most):
                return f" has {count} items"
            for place, one in enumerate(value):
                why = (first[place] if place < leading else item)(one)
                if why is not None:
                    return f"[{place}]{why}"
            if unique and count > 1 and len(set(value)) < count:
                return " holds an item twice"
            return None

        return check


def _unfit(value: Any) -> str | None:
    del value
    return " is not allowed here"


def _listed(kinds: str | Sequence[str]) -> Sequence[str]:
    return [kinds] if isinstance(kinds, str) else kinds


def _enum(values: Sequence[Any]) -> Check:
    # With the type: to Python true equals 1.
    allowed = {(type(value), value) for value in values}
    wrong = f" is not {' or '.join(map(str, values))}"

    def check(value: Any) -> str | None:
        fits = type(value) in _LEAVES and (type(value), value) in allowed
        return None if fits else wrong

    return check


def _string(schema: Mapping[str, Any]) -> Check | None:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    pattern, form = schema.get("pattern"), schema.get("format")
    tests: list[Callable[[str], Any]] = []
    if least or most is not None:
        tests.append(lambda text: least <= len(text) and (most is None or len(text) <= most))
    if pattern is not None and form not in _WHOLE:
        # Patterns are written with both anchors; in Python "$" would let a line feed pass.
        tests.append(re.compile(pattern[1:-1]).fullmatch)
    if form is not None:
        tests.append(FORMATS[form])
    if not tests:
        return None
    wrong = f" is not a valid {form}" if form else " is not a valid text here"
    if len(tests) == 1:
        (only,) = tests
        return lambda text: None if only(text) else wrong

    def check(text: str) -> str | None:
        for test in tests:
            if not test(text):
                return wrong
        return None

    return check


def _integer(schema: Mapping[str, Any]) -> Check | None:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is None and most is None:
        return None
    low = -(2**63) if least is None else least
    high = 2**64 - 1 if most is None else most
    wrong = f" is not between {low} and {high}"
    return lambda number: None if low <= number <= high else wrong


class _Plan(NamedTuple):
    """How objects of one shape are checked.

    ``names`` are the fields whose values repeat, read together by ``read``, and ``seen`` the values
    found sound. ``each`` holds every other field that has to be looked at, with its check.
    """

    names: tuple[str, ...]
    read: Callable[[Any], Any]
    seen: set[Any]
    each: tuple[tuple[str, Check], ...]


class _Object:
    """The check of one schema of objects, with what it has learnt of their shapes."""

    def __init__(self, compiler: _Compiler, schema: Mapping[str, Any]) -> None:
        properties = schema.get("properties", {})
        self._fields = {name: compiler.by_type(one) for name, one in properties.items()}
        self._repeating = {
            name for name, one in properties.items() if _repeats(compiler.resolve(one))
        }
        self._required = schema.get("required", ())
        self._rest = compiler.compile(schema.get("additionalProperties", True))
        self._names = compiler.compile(schema.get("propertyNames", True))
        self._least, self._most = schema.get("minProperties", 0), schema.get("maxProperties")
        self._plans: dict[tuple[Any, ...], _Plan | str] = {}
        # What an object maps names of any kind to is looked at one by one.
        self.check = self._check_shaped if properties else self._check_each

    def _check_shaped(self, value: Mapping[str, Any]) -> str | None:
        shape = (*value, *map(type, value.values()))
        plan = self._plans.get(shape)
        if plan is None:
            plan = self._plan(value)
            if len(self._plans) >= _SHAPES_MAX:
                self._plans.clear()
            self._plans[shape] = plan
        if isinstance(plan, str):
            return plan
        names, read, seen, each = plan
        if names:
            found = read(value)
            if found not in seen:
                why = self._remember(names, value, seen, found)
                if why is not None:
                    return why
        for name, check in each:
            why = check(value[name])
            if why is not None:
                return f".{name}{why}"
        return None

    def _remember(
        self, names: Sequence[str], value: Mapping[str, Any], seen: set[Any], found: Any
    ) -> str | None:
        for name in names:
            why = self._look(name, value[name])
            if why is not None:
                return why
        if len(seen) >= _SEEN_MAX:
            seen.clear()
        seen.add(found)
        return None

    def _look(self, name: str, value: Any) -> str | None:
        made = self._fields.get(name, self._rest)
        if isinstance(made, dict):
            if type(value) not in made:
                return f".{name} is not {' or '.join(_NAMES[kind] for kind in made)}"
            look = made[type(value)]
        else:
            look = made
        why = None if look is None else look(value)
        return None if why is None else f".{name}{why}"

    def _plan(self, value: Mapping[str, Any]) -> _Plan | str:
        """Say how objects of a shape are checked, or what is wrong with all of them."""
        for name in self._required:
            if name not in value:
                return f".{name} is missing"
        names = []
        each: list[tuple[str, Check]] = []
        for name, one in value.items():
            made = self._fields.get(name, self._rest)
            if isinstance(made, dict):
                if type(one) not in made:
                    return f".{name} is not {' or '.join(_NAMES[kind] for kind in made)}"
                look = made[type(one)]
            else:
                look = None if made is find_float and type(one) in _LEAVES else made
            if look is None:
                continue
            if name in self._repeating and type(one) in _LEAVES:
                names.append(name)
            else:
                each.append((name, look))
        read = itemgetter(*names) if names else itemgetter
        return _Plan(tuple(names), read, set(), tuple(each))

    def _check_each(self, value: Mapping[str, Any]) -> str | None:
        if len(value) < self._least or (self._most is not None and len(value) > self._most):
            return f" has {len(value)} fields"
        for name, one in value.items():
            why = self._names(name) or self._rest(one)
            if why is not None:
                return f".{name}{why}"
        return None


def _repeats(schema: Schema) -> bool:
    """Whether a field holds one of few values: texts with a pattern are ids, stamps and nonces."""
    if not isinstance(schema, Mapping) or "anyOf" in schema:
        return False
    few = "const" in schema or "enum" in schema
    return few or (schema.get("type") == "string" and "pattern" not in schema)
