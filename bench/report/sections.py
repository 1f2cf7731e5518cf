"""What the page shows of each part of a result: charts, and tables whose cells are text.

A function gives None (or an empty list) for a part that the result does not have.
"""
import charts
import curves
import figures
import verdicts
from charts import Bar, Row
from result import SUBJECT
from svg import inline

OVERVIEW_CUT = 3.5  # times the reference: what is beyond is told as a number at the edge
TIMER_TITLES = {
    "start": "start",
    "cancel": "cancel",
    "touch": "move on",
    "expire": "expire, with callback",
}
PERCENTILES = ["p50", "p99", "p99.9", "max"]


def overview_rows(result):
    rows = []
    for workload in result.workloads:
        dots = {
            score.contestant: (score.ratio.low, score.ratio.median, score.ratio.high)
            for score in workload.scores
            if score.ratio and score.contestant != result.reference
        }
        if dots:
            rows.append(Row(workload.title, dots, workload.target))
    return rows


def overview(result, styles, rows, width=880):
    reference = result.title(result.reference)
    label = f"CPU per message, times that of {reference} (logarithmic; left is better)"
    return charts.dots(styles, rows, label, width, reference=1, cut=OVERVIEW_CUT, left=262)


def overview_chart(result, styles):
    rows = overview_rows(result)
    if not rows:
        return None
    return inline(
        overview(result, styles, rows), "CPU per message against the reference, all workloads"
    )


def overview_table(result):
    rows = []
    for workload in result.workloads:
        mine = verdicts.score_of(workload, SUBJECT)
        peer = verdicts.best_peer(result, workload)
        rows.append({
            "id": workload.id,
            "title": workload.title,
            "cpu": figures.plain(mine.cpu_ns.median) if mine and mine.cpu_ns else "–",
            "ratio": figures.precise(mine.ratio.median) if mine and mine.ratio else "–",
            "quartiles": quartiles(mine.ratio) if mine else "–",
            "peer": result.title(peer.contestant) if peer else "–",
            "peer_ratio": figures.precise(peer.ratio.median) if peer else "–",
            "ahead": bool(peer and mine and mine.ratio and mine.ratio.median < peer.ratio.median),
            "target": figures.ratio(workload.target),
            "verdict": verdicts.workload_verdict(workload),
            "failed": bool(mine and mine.errors),
        })  # fmt: skip
    return rows


def quartiles(spread):
    if not spread:
        return "–"
    low, high = figures.precise(spread.low), figures.precise(spread.high)
    return f"{low} – {high}" if spread.high > spread.low else "one round"


def groups(result, styles):
    """The workloads by their groups, in the order of the file."""
    grouped = {}
    for workload in result.workloads:
        grouped.setdefault(workload.group, []).append(workload_section(result, styles, workload))
    return [{"title": title, "workloads": workloads} for title, workloads in grouped.items()]


def workload_section(result, styles, workload):
    lines = curves.latency(styles, workload.scores)
    return {
        "id": workload.id,
        "title": workload.title,
        "unit": workload.unit,
        "offered": max((score.offered_rate for score in workload.scores), default=0),
        "verdict": verdicts.workload_verdict(workload),
        "relative": any(score.ratio for score in workload.scores),
        "bars": workload_bars(result, styles, workload),
        "curves": inline(lines, f"Latency percentiles: {workload.title}") if lines else None,
        "table": workload_table(result, workload),
        "calls": system_calls(result, workload),
        "errors": [
            f"{result.title(score.contestant)}: {', '.join(score.errors)}"
            for score in workload.scores
            if score.errors
        ],
    }  # fmt: skip


def workload_bars(result, styles, workload):
    relative = any(score.ratio for score in workload.scores)
    rows = []
    for score in workload.scores:
        spread = score.ratio if relative else score.cpu_ns
        if spread:
            rows.append(Bar(score.contestant, spread.median, spread.low, spread.high))
        else:
            rows.append(
                Bar(score.contestant, None, note="failed" if score.errors else "not measured")
            )
    if not any(row.value for row in rows):
        return None
    form, target, reference = (
        (figures.ratio, workload.target, 1) if relative else (figures.plain, None, None)
    )
    figure = charts.bars(result, styles, rows, form, target, reference)
    return inline(figure, f"CPU per {workload.unit}: {workload.title}")


def workload_table(result, workload):
    """Columns as (heading, unit), rows with a cell for each; what nobody has is no column."""
    scores = workload.scores
    fast = max((s.rate.median for s in scores if s.rate), default=0) >= 10000
    large = workload.message_bytes >= 4096
    columns = [
        (("rate", f"{'thousand ' if fast else ''}{plural(workload.unit)}/s"),
         lambda s: s.rate and figures.plain(s.rate.median / (1000 if fast else 1))),
        (("", "MB/s"), lambda s: large and s.megabytes and figures.plain(s.megabytes.median)),
        (("CPU", "ns"), lambda s: s.cpu_ns and figures.plain(s.cpu_ns.median)),
        (("user", "ns"), lambda s: s.user_ns and figures.plain(s.user_ns)),
        (("CPU ratio", ""), lambda s: s.ratio and figures.precise(s.ratio.median)),
        (("quartiles", ""),
         lambda s: s.ratio and s.contestant != result.reference and quartiles(s.ratio)),
        *(((key, "µs"),
           lambda s, key=key: key in s.latency and figures.plain(s.latency[key] / 1000))
          for key in PERCENTILES),
        (("system calls", f"per {workload.unit}"),
         lambda s: s.system_calls and figures.plain(sum(s.system_calls.values()))),
        (("server busy", ""),
         lambda s: s.server_busy is not None and f"{100 * s.server_busy:.0f} %"),
    ]  # fmt: skip
    kept = [(heading, cell) for heading, cell in columns if any(cell(score) for score in scores)]
    rows = [
        {
            "name": score.contestant,
            "title": result.title(score.contestant),
            "cells": [cell(score) or "–" for _, cell in kept],
            "client_bound": score.client_bound,
            "failed": bool(score.errors),
        }
        for score in scores
    ]
    return {"columns": [heading for heading, _ in kept], "rows": rows}


def plural(unit):
    return {"delivery": "deliveries", "MiB": "MiB"}.get(unit, f"{unit}s")


def system_calls(result, workload):
    """Of the subject and the reference, one by one; the table has the sums."""
    lines = []
    for name in (SUBJECT, result.reference):
        score = verdicts.score_of(workload, name)
        if score and score.system_calls:
            calls = sorted(score.system_calls.items(), key=lambda item: -item[1])
            text = ", ".join(f"{call} {figures.plain(n, 2)}" for call, n in calls)
            lines.append((result.title(name), text))
    return lines


def memory_states(memory):
    """Those that were measured of anybody."""
    states = verdicts.MEMORY_STATES
    return {
        s: text
        for s, text in states.items()
        if any(s in numbers for numbers in memory.results.values())
    }


def memory_rows(result, state):
    results = result.memory.results
    return [Bar(c.name, results[c.name].get(state)) for c in result.shown() if c.name in results]


def memory(result, styles):
    if not result.memory or not memory_states(result.memory):
        return None
    panels = []
    for state, text in memory_states(result.memory).items():
        rows = memory_rows(result, state)
        figure = charts.bars(result, styles, rows, figures.count, result.memory.target)
        panels.append({"title": text, "chart": inline(figure, f"Bytes per connection, {text}")})
    return {"connections": figures.count(result.memory.connections), "panels": panels}


def micro(result, styles):
    """One section per operation with arguments; those without share one."""
    several = [operation for operation in result.micro if len(operation.arguments) > 1]
    single = [operation for operation in result.micro if len(operation.arguments) <= 1]
    sections = []
    for operation in several:
        labels = [figures.amount(argument) for argument in operation.arguments]
        places = [(operation, i, label) for i, label in enumerate(labels)]
        sections.append(micro_section(result, styles, operation.title, operation.argument, places))
    by_unit = {}
    for operation in single:
        by_unit.setdefault(operation.unit, []).append((operation, 0, operation.title))
    for places in by_unit.values():
        title = "others" if several else "operations"
        sections.append(micro_section(result, styles, title, "", places))
    return [section for section in sections if section]


def micro_section(result, styles, title, argument, places):
    """`places` are the rows: (operation, the index of its argument, the row's label)."""
    unit = places[0][0].unit
    rows = []
    for operation, i, label in places:
        dots = {
            name: (None, v[i], None) for name, v in operation.values.items() if v[i] is not None
        }
        if dots:
            rows.append(Row(label, dots, operation.targets[i]))
    if not rows:
        return None
    left = 60 + max(6 * len(row.label) for row in rows)
    figure = charts.dots(
        styles,
        rows,
        f"{unit} (logarithmic; left is faster)",
        510,
        left=min(left, 220),
        row_height=26 + 60 // len(rows),
    )
    taking_part = [c for c in result.shown() if any(c.name in op.values for op, _, _ in places)]
    return {
        "title": title,
        "argument": argument,
        "unit": unit,
        "chart": inline(figure, f"{title}, {unit}"),
        "labels": [label for _, _, label in places],
        "targets": [
            figures.plain(op.targets[i], 1) if op.targets[i] else "" for op, i, _ in places
        ],
        "rows": [
            {"name": c.name, "title": c.title,
             "cells": [figures.plain(op.values.get(c.name, {i: None})[i], 2)
                       for op, i, _ in places]}
            for c in taking_part
        ],
    }  # fmt: skip


def growth(result, styles):
    charts_of = []

    def add(title, what, label, form, log):
        if curves.has_values(what):
            drawn = inline(curves.growth(styles, what, label, form, log), f"{title} over {label}")
            charts_of.append({"title": title, "chart": drawn})

    add("CPU per message", result.growth_cpu, "connections", figures.duration, False)
    add("memory per connection, bytes", result.growth_memory, "connections", figures.short, True)
    for operation, what in result.growth_timers.items():
        title = f"timers: {TIMER_TITLES.get(operation, operation)}"
        add(title, what, "timers waiting", figures.duration, True)
    return charts_of
