"""The error of all readers says where, what, and what instead, and survives a worker process."""

import pickle

from isa import InputError


def test_message_names_source_field_found_and_expected():
    error = InputError("machine.toml", "compute.m", -1, "1 or more")
    assert str(error) == "machine.toml: compute.m: found -1, expected 1 or more"


def test_long_values_are_shortened():
    assert len(str(InputError("file", "field", "x" * 10_000, "y" * 10_000))) < 700


def test_deeply_nested_values_can_be_named():
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    assert "deeply nested list" in str(InputError("file", "field", nested, "a number"))


def test_error_travels_between_processes():
    error = InputError("file", "field", [1, 2], "three")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own object)
    assert str(copy) == str(error)
    assert (copy.field, copy.found) == ("field", [1, 2])
