"""Charts with a line for each contestant: latency by percentile, and what grows over a quantity."""
import math

from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

import figures
from charts import log_ticks
from result import LATENCIES
from svg import new_figure, place
from theme import light

NINES = {0.5: "50 %", 0.9: "90", 0.99: "99", 0.999: "99.9", 0.9999: "99.99", 0.99999: "99.999"}


def nines(share):
    """Each further nine is as wide as the one before: 0.9 is 1, 0.99 is 2."""
    return -math.log10(1 - share)


def curve_of(score):
    """The slower half of a latency curve, or what the percentiles of the table make of it."""
    points = score.curve or [(LATENCIES[key], ns) for key, ns in score.latency.items()]
    return sorted((share, ns) for share, ns in points if 0.5 <= share < 1 and ns > 0)


def latency(styles, scores, width=510, height=230):
    """None when there is nothing to draw."""
    lines = {score.contestant: curve_of(score) for score in scores}
    lines = {name: points for name, points in lines.items() if len(points) > 1}
    if not lines:
        return None
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    place(figure, left=58, top=10, right=26, bottom=42)
    axes.set_yscale("log")
    for name, points in lines.items():
        shares, ns = zip(*points)
        axes.plot([nines(share) for share in shares], ns, **styles.line(name))
    last = max(points[-1][0] for points in lines.values())
    first = min(points[0][0] for points in lines.values())
    axes.set_xlim(nines(first), nines(last))
    ticks = [share for share in NINES if nines(first) - 0.01 <= nines(share) <= nines(last) + 0.01]
    axes.xaxis.set_major_locator(FixedLocator([nines(share) for share in ticks]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda _, at: NINES[ticks[at]]))
    axes.set_xlabel("latency of this share of the messages, or less", loc="left")
    times = [ns for points in lines.values() for _, ns in points]
    finish(axes, min(times), max(times), figures.duration)
    return figure


def growth(styles, what, label, form, log=True, width=510, height=250, title=None):
    """Over a logarithmic quantity; level lines are O(1)."""
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    place(figure, left=58, top=26 if title else 10, right=20, bottom=42)
    if title:
        axes.set_title(title)
    axes.set_xscale("log")
    for name, values in what.lines.items():
        points = [(at, value) for at, value in zip(what.at, values) if value is not None]
        if points:
            axes.plot(*zip(*points), marker="o", markersize=3.5, **styles.line(name))
    axes.xaxis.set_major_locator(FixedLocator(what.at))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: figures.short(value)))
    axes.set_xlabel(label, loc="left")
    values = [value for line in what.lines.values() for value in line if value is not None]
    if log:
        axes.set_yscale("log")
        finish(axes, min(values), max(values), form)
    else:
        finish(axes, 0, max(values), form)
    return figure


def has_values(what):
    return bool(what) and any(value is not None for line in what.lines.values() for value in line)


def finish(axes, low, high, form):
    if low > 0:
        room = max(1.1, (high / low) ** 0.06)
        axes.set_ylim(low / room, high * room)
        log_ticks(axes.yaxis, low / room, high * room, form)
    else:
        axes.set_ylim(0, high * 1.08)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(length=0, pad=6)
    axes.grid(axis="both")
    axes.spines["left"].set_visible(False)


def legend_key(styles, name):
    """Line and mark of a contestant, 30 by 12."""
    figure = new_figure(30, 12)
    figure.add_artist(Line2D([0, 1], [0.5, 0.5], **styles.line(name)))
    look = styles.mark(name) | {"markersize": 6}
    figure.add_artist(Line2D([0.5], [0.5], color=styles.colour(name), linestyle="none", **look))
    return figure


def add_legend(figure, result, styles, names, columns, marks=False):
    """For a chart that stands alone: below it. The caller leaves room for the rows."""
    if not names:
        return
    handles = []
    for name in names:
        look = styles.mark(name) | {"linestyle": "none"} if marks else styles.line(name)
        handles.append(Line2D([], [], **({"color": styles.colour(name)} | look)))
    legend = figure.legend(handles, [result.title(name) for name in names], loc="lower left",
                           frameon=False, ncols=columns, handlelength=2.2, columnspacing=1.6,
                           fontsize=8)  # fmt: skip
    for text in legend.get_texts():
        text.set_color(light("ink"))
