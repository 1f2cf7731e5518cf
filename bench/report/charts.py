"""Charts that compare the contestants at one point each: bars, and dots on a logarithmic axis."""
import math
import statistics
from dataclasses import dataclass, field

from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

import figures
from result import SUBJECT
from svg import new_figure, place
from theme import light

ROW = 22  # pixels
CUT_AT = 3.0  # times the target or the reference: a longer bar would make all others look the same


# The numbers in each decade of a logarithmic axis, the more the better.
STEPS = [(1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)]
MOST_TICKS = 9


@dataclass
class Bar:
    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""  # instead of a value


@dataclass
class Row:
    """A line of dots."""

    label: str
    dots: dict = field(default_factory=dict)  # {contestant: (low, value, high)}
    target: float | None = None


def end_of_axis(values, marks):
    """Where bars end: with the longest, or, when that is far from what matters, where it is cut."""
    matters = max(marks) if marks else statistics.median(values)
    return min(max(values), CUT_AT * matters)


def bars(result, styles, rows, form, target=None, reference=None, width=510):
    """Horizontal bars, one below the other, with their quartiles, values and the target."""
    top = 20 if target else 8
    figure = new_figure(width, len(rows) * ROW + top + 6)
    axes = figure.add_subplot()
    place(figure, left=112, top=top, right=58, bottom=6)
    draw_bars(axes, result, styles, rows, form, target, reference)
    return figure


def draw_bars(axes, result, styles, rows, form, target, reference):
    values = [row.value for row in rows if row.value is not None]
    marks = [mark for mark in (target, reference) if mark]
    end = end_of_axis(values, marks) if values else 1
    highest = max([end, *marks, *(min(row.high or 0, end * 1.05) for row in rows)]) * 1.03
    axes.set(xlim=(0, highest), ylim=(len(rows) - 0.5, -0.5))
    axes.xaxis.set_visible(False)
    axes.tick_params(axis="y", length=0, pad=8)
    axes.set_yticks(range(len(rows)), [result.title(row.name) for row in rows])
    for side in ("bottom", "left"):
        axes.spines[side].set_visible(False)
    for i, (row, label) in enumerate(zip(rows, axes.get_yticklabels())):
        mine = row.name == SUBJECT
        label.set(
            color=light("subject" if mine else "ink"), fontweight="bold" if mine else "normal"
        )
        draw_bar(axes, styles, row, i, highest, form)
    if reference:
        axes.axvline(reference, color=light("soft"), linewidth=0.8, zorder=1)
    if target:
        axes.axvline(target, color=light("subject"), linewidth=1.2, linestyle=(0, (3, 2)), zorder=6)
        axes.annotate(f"target {form(target)}", (target, 1), (0, 3),
                      xycoords=("data", "axes fraction"), textcoords="offset points",
                      ha="center", fontsize=7.5,
                      color=light("subject"))  # fmt: skip


def draw_bar(axes, styles, row, i, highest, form):
    beside = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "center"}
    if row.value is None:
        axes.annotate(row.note or "–", (0, i), (4, 0), color=light("soft"), **beside)
        return
    mine = row.name == SUBJECT
    axes.barh(i, min(row.value, highest), 0.62, color=styles.colour(row.name), zorder=2)
    if row.value > highest:  # a slit says that the bar goes on
        at = highest * 0.93
        axes.plot(
            [at, at + highest * 0.012], [i + 0.42, i - 0.42], color=light("paper"), linewidth=3
        )
    elif row.low is not None and row.high is not None and row.high > row.low:
        axes.hlines(i, row.low, row.high, color=light("ink"), linewidth=1.2, zorder=3)
        axes.vlines(
            (row.low, row.high), i - 0.14, i + 0.14, color=light("ink"), linewidth=1.2, zorder=3
        )
    axes.annotate(form(row.value), (1, i), (40, 0), ha="right",
                  fontweight="bold" if mine else "normal",
                  color=light("subject" if mine else "ink"), **beside)  # fmt: skip


def dots(styles, rows, label, width=1040, reference=None, cut=None, left=250, row_height=ROW + 4):
    """A row for each of `rows`, on a logarithmic axis: who is further left is better."""
    everybody = [row.dots[name][1] for row in rows for name in row.dots]
    shown = [row.target for row in rows if row.target] + ([reference] if reference else [])
    lowest, highest = min(everybody + shown), max(everybody + shown)
    if cut:
        highest = min(highest, cut)
    room = (highest / lowest) ** 0.05 * 1.02
    figure = new_figure(width, len(rows) * row_height + 48)
    axes = figure.add_subplot()
    place(figure, left=left, top=6, right=92 if cut else 24, bottom=42)
    axes.set(xscale="log", xlim=(lowest / room, highest * room), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xlabel(label, loc="left")
    log_ticks(axes.xaxis, lowest / room, highest * room, figures.short)
    axes.tick_params(length=0, pad=6)
    axes.set_yticks(range(len(rows)), [row.label for row in rows], color=light("ink"))
    axes.spines["left"].set_visible(False)
    for i in range(0, len(rows), 2):
        axes.axhspan(i - 0.5, i + 0.5, color=light("band"), zorder=0, linewidth=0)
    axes.grid(axis="x", zorder=1)
    if reference:
        axes.axvline(reference, color=light("reference"), linewidth=1.4, zorder=2)
    for i, row in enumerate(rows):
        draw_dots(axes, styles, row, i, highest)
    return figure


def draw_dots(axes, styles, row, i, highest):
    beyond = []
    for name, (low, value, high) in row.dots.items():
        if value > highest * 1.0001:
            beyond.append(value)
            continue
        mark = styles.mark(name)
        axes.plot(value, i, linestyle="none", color=styles.colour(name), **mark)
        if name == SUBJECT and low and high and high > low:
            axes.hlines(
                i, low, min(high, highest), color=styles.colour(name), linewidth=2, zorder=5
            )
    if row.target:
        axes.vlines(row.target, i - 0.36, i + 0.36, color=light("subject"), linewidth=1.4,
                    linestyle=(0, (3, 1.5)), zorder=7)  # fmt: skip
    if beyond:
        low, high = figures.plain(min(beyond)), figures.plain(max(beyond))
        text = f"{low} ▸" if low == high else f"{low} to {high} ▸"
        axes.annotate(text, (1, i), (6, 0), xycoords=("axes fraction", "data"), va="center",
                      fontsize=8, textcoords="offset points", color=light("soft"))  # fmt: skip


def log_ticks(axis, low, high, form):
    """As many round numbers as there is room for."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in STEPS:
        ticks = [step * 10.0**power for power in powers for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= MOST_TICKS:
            break
    if len(ticks) < 2:
        ticks = [float(f"{value:.2g}") for value in (low, high)]
    axis.set_major_locator(FixedLocator(ticks[:: 1 + len(ticks) // (MOST_TICKS + 1)]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
