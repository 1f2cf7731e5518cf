"""Reading JSON that others have written: whatever is wrong with it is said together with its place.

    root = load(path)
    for workload in root["workloads"].items():
        workload["title"].text()          # BadResult: workloads[2].title is missing
"""
import json
import math


class BadResult(Exception):
    """The file is not what it should be; the text says where and why."""


def load(path):
    """The value in a JSON file as a Node. OSError when it cannot be read, else BadResult."""
    try:
        with open(path, encoding="utf-8") as file:
            return Node(json.load(file, parse_constant=refuse_constant), "")
    except json.JSONDecodeError as error:
        raise BadResult(f"is not JSON: {error}") from None
    except UnicodeDecodeError as error:
        raise BadResult(f"is not JSON: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise BadResult("is nested too deeply") from None


def refuse_constant(name):
    raise BadResult(f"is not JSON: {name} is no number")


class Node:
    """A value and where it stands. To read what is not there or of another type is BadResult."""

    def __init__(self, value, where):
        self.value = value
        self.where = where

    def _expect(self, types, wanted):
        # bool is an int to Python, and none to JSON.
        if not isinstance(self.value, types) or (
            isinstance(self.value, bool) and types is not bool
        ):
            place = self.where or "the file"
            raise BadResult(f"{place} is {describe(self.value)}, not {wanted}")
        return self.value

    def find(self, key):
        """The member of that name; None when it is missing or null."""
        value = self._expect(dict, "an object").get(key)
        return None if value is None else Node(value, f"{self.where}.{key}" if self.where else key)

    def __getitem__(self, key):
        member = self.find(key)
        if member is None:
            missing = "null" if key in self.value else "missing"
            raise BadResult(f"{f'{self.where}.{key}' if self.where else key} is {missing}")
        return member

    def items(self):
        values = self._expect(list, "a list")
        return [Node(value, f"{self.where}[{i}]") for i, value in enumerate(values)]

    def members(self):
        return {printable(key): self.find(key) for key in self._expect(dict, "an object")}

    def number(self):
        number = self._expect((int, float), "a number")
        try:
            if math.isfinite(number):
                return number
        except OverflowError:
            pass
        raise BadResult(f"{self.where} is too large a number")

    def count(self):
        number = self.number()
        if number < 0 or number != int(number):
            raise BadResult(f"{self.where} is {number}, not a count")
        return int(number)

    def flag(self):
        return self._expect(bool, "true or false")

    def text(self):
        return printable(self._expect(str, "a string"))

    def numbers_or_none(self):
        return [None if node.value is None else node.number() for node in self.items()]


def describe(value):
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")


def printable(text):
    """One line. XML has no control characters, not even escaped ones."""
    line = "".join(" " if c.isspace() else c for c in text)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
