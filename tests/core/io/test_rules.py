"""Rules of what JSON holds: what each allows, and how it says what is wrong."""

import pytest

from aam_core.errors import InputError
from aam_core.io.rules import (
    anything,
    choice,
    flag,
    listing,
    mapping,
    maybe,
    nothing,
    number,
    record,
    text,
    whole,
)

HUGE = 10**301
COUNTS = record({"n": whole()}, {"name": text})


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        (number(), [0, -1.5, 1e300, -1e300]),
        (number(0, 1), [0, 1, 0.5]),
        (number(0, 1, above=True), [1e-9, 1]),
        (whole(), [0, 7, 10**300]),
        (whole(2, 3), [2, 3]),
        (whole(-2), [-2]),
        (anything, [None, {"a": [1]}]),
        (text, ["", "a"]),
        (flag, [True, False]),
        (nothing, [None]),
        (choice("a", 1, None), ["a", 1, None]),
        (maybe(text), [None, "a"]),
        (listing(text), [[], ["a", "a"]]),
        (listing(text, lengths=(0, 2)), [[], ["a", "b"]]),
        (listing(text, lengths=range(1, 9)), [["a"], list("abcdefgh")]),
        (listing(text, distinct=True), [[], ["a", "b"]]),
        (mapping(flag), [{}, {"a": True, "b": False}]),
        (COUNTS, [{"n": 1}, {"n": 1, "name": "x"}, {"n": 1, "other": []}]),
        (
            record({"n": whole()}, {"m": text}, strict=True),
            [{"n": 1}, {"n": 1, "m": ""}],
        ),
        (record({}), [{}, {"a": 1}]),
    ],
)
def test_what_is_allowed(rule, allowed):
    for value in allowed:
        rule(value, "here")


STRICT = record({"n": whole()}, strict=True)


@pytest.mark.parametrize(
    ("rule", "value", "message"),
    [
        (number(), True, "here is True, but must be a number."),
        (number(), "1", "here is '1', but must be a number."),
        (number(), float("nan"), "here is nan, but must be a number."),
        (number(), float("inf"), "here is inf, but must be a number."),
        (number(), -HUGE, None),
        (
            number(0, 1),
            2,
            "here is 2, but must be a number of at least 0 and at most 1.",
        ),
        (number(0, 1), -0.5, None),
        (number(0, above=True), 0, "here is 0, but must be a number above 0."),
        (number(high=1500), 1501, "must be a number at most 1,500."),
        (whole(), False, "here is False, but must be a whole number of at least 0."),
        (whole(), 1.0, "here is 1.0, but must be a whole number of at least 0."),
        (whole(), -1, None),
        (whole(), HUGE, None),
        (whole(2, 3000), 1, "a whole number of at least 2 and at most 3,000."),
        (whole(2, 3), 4, None),
        (text, None, "here is None, but must be text."),
        (flag, 1, "here is 1, but must be true or false."),
        (nothing, 0, "here is 0, but must be null."),
        (choice("a", 1), "b", "here is 'b', but must be one of 'a', 1."),
        (choice("a", 1), True, None),
        (choice("a", 1), 1.0, None),
        (choice(*"abcdefgh"), "x", "'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'."),
        (maybe(text), 1, "here is 1, but must be text."),
        (listing(text), ("a",), "here is ('a',), but must be a list."),
        (listing(text), ["a", 1], "here[1] is 1, but must be text."),
        (listing(text, lengths=(0, 2)), ["a"], "must be a list of length 0 or 2."),
        (
            listing(text, lengths=range(2, 9)),
            ["a"],
            "must be a list of length 2 or more.",
        ),
        (
            listing(text, distinct=True),
            list("abab"),
            "here names 'a', 'b' more than once.",
        ),
        (mapping(flag), [], "here is [], but must be an object."),
        (mapping(flag), {"a": True, "b": 0}, "here.b is 0, but must be true or false."),
        (COUNTS, [1], "here is [1], but must be an object."),
        (COUNTS, {"name": "x"}, "here lacks 'n'."),
        (COUNTS, {"n": 1, "name": 2}, "here.name is 2, but must be text."),
        (STRICT, {"n": 1, "b": 0, "a": 0}, "here has 'a', 'b', which this version of"),
        (text, ["x" * 99], f"here is ['{'x' * 58}…, but must be text."),
        (text, [1] * 20, f"here is {[1] * 20}, but must be text."),  # of 60 characters
    ],
)
def test_what_is_wrong_is_said(rule, value, message):
    with pytest.raises(InputError) as error:
        rule(value, "here")
    assert message is None or message in str(error.value)


@pytest.mark.parametrize(
    ("rule", "value", "message"),
    [
        (COUNTS, [], "It is [], but must be an object."),
        (COUNTS, {}, "It lacks 'n'."),
        (COUNTS, {"n": "x"}, "n is 'x', but"),
        (STRICT, {"n": 1, "b": 1}, "It has 'b', which"),
    ],
)
def test_the_whole_file_is_called_it(rule, value, message):
    with pytest.raises(InputError) as error:
        rule(value, "")
    assert str(error.value).startswith(message)
