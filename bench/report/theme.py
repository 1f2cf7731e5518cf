"""The colours of the report: each a light and a dark one, by the name of the CSS variable.

The subject has the one strong colour, the reference is neutral, peers are quiet. They can be told
apart by those who do not see all colours (after Paul Tol's "muted" scheme); lines also by their
dashes.
"""
from result import SUBJECT

COLOURS = {
    "paper": ("#ffffff", "#14171c"),
    "ink": ("#1b1f24", "#e4e7eb"),
    "soft": ("#5f6772", "#9aa4b0"),
    "grid": ("#e3e6ea", "#2b313a"),
    "band": ("#f5f6f8", "#1b2027"),
    "subject": ("#0b5fd7", "#5aa2ff"),
    "reference": ("#6b727c", "#a3abb5"),
    "good": ("#1a7f4b", "#4cc38a"),
    "bad": ("#b4400f", "#ff9262"),
    "peer-1": ("#c98a94", "#b9737f"),
    "peer-2": ("#c2ab5c", "#a8934a"),
    "peer-3": ("#6fa38a", "#5c9a7c"),
    "peer-4": ("#a57fae", "#9a70a6"),
    "peer-5": ("#7fb4b5", "#5f9a9c"),
    "peer-6": ("#a09a62", "#8d8752"),
    "peer-7": ("#8f93c4", "#767bb5"),
    "peer-8": ("#b58f74", "#a17a5e"),
}
DASHES = ["solid", (0, (5, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)), (0, (1, 1)), (0, (9, 3)),
          (0, (4, 1.5, 1, 1.5, 1, 1.5)), (0, (3, 3))]  # fmt: skip
MARKS = ["s", "^", "v", "P", "X", "D", "<", ">"]


def light(name):
    return COLOURS[name][0]


class Styles:
    """How each contestant looks, everywhere the same."""

    def __init__(self, result):
        names = [c.name for c in result.shown() if c.name not in (SUBJECT, result.reference)]
        self.reference = result.reference
        self.peers = {name: i for i, name in enumerate(names)}

    def variable(self, name):
        if name == SUBJECT:
            return "subject"
        if name == self.reference:
            return "reference"
        return f"peer-{self.peers.get(name, 0) % 8 + 1}"

    def colour(self, name):
        return light(self.variable(name))

    def line(self, name):
        """What matplotlib's plot() takes."""
        if name == SUBJECT:
            return {"color": self.colour(name), "linewidth": 2.6, "zorder": 5}
        if name == self.reference:
            return {"color": self.colour(name), "linewidth": 1.6, "zorder": 4}
        dashes = DASHES[self.peers.get(name, 0) % len(DASHES)]
        return {"color": self.colour(name), "linewidth": 1.4, "linestyle": dashes, "zorder": 3}

    def mark(self, name):
        if name == SUBJECT:
            return {"marker": "o", "markersize": 7, "zorder": 6}
        if name == self.reference:
            return {"marker": "|", "markersize": 9, "markeredgewidth": 1.8, "zorder": 4}
        return {"marker": MARKS[self.peers.get(name, 0) % 8], "markersize": 5, "zorder": 3}
