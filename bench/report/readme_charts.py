"""The charts that bench/README.md shows: files of their own, each with its title and legend.

cpu.svg, latency.svg, memory.svg, growth.svg, timers.svg. What the result does not have is not
written.
"""
import charts
import curves
import figures
import sections
from svg import DOTS_PER_INCH, new_figure, place, standalone
from theme import Styles, light

WIDTH = 860
HEADING = 44
LEGEND = 22  # a row of it


def draw_all(result):
    styles = Styles(result)
    drawn = {
        "cpu.svg": cpu(result, styles),
        "latency.svg": latency(result, styles),
        "memory.svg": memory(result, styles),
        "growth.svg": growth(result, styles),
        "timers.svg": timers(result, styles),
    }
    return {name: standalone(figure) for name, figure in drawn.items() if figure}


def complete(figure, result, styles, title, names, marks=False):
    """Makes room for a title above and a legend below."""
    columns = 5
    rows = -(-len(names) // columns)
    width, height = figure.get_size_inches() * DOTS_PER_INCH
    above, below = HEADING, rows * LEGEND + 12
    whole = height + above + below
    figure.set_size_inches(width / DOTS_PER_INCH, whole / DOTS_PER_INCH)
    for axes in figure.axes:
        box = axes.get_position()
        axes.set_position(
            [box.x0, (box.y0 * height + below) / whole, box.width, box.height * height / whole]
        )
    figure.text(
        20 / width, 1 - 27 / whole, title, fontsize=11, fontweight="bold", color=light("ink")
    )
    curves.add_legend(figure, result, styles, names, columns, marks)
    return figure


def taking_part(result, names):
    return [contestant.name for contestant in result.shown() if contestant.name in names]


def cpu(result, styles):
    rows = sections.overview_rows(result)
    if not rows:
        return None
    figure = sections.overview(result, styles, rows, WIDTH)
    names = taking_part(result, {name for row in rows for name in row.dots})
    title = f"CPU of the server per message, against {result.title(result.reference)}"
    return complete(figure, result, styles, title, names, marks=True)


def latency(result, styles):
    """Of the open loop under the highest load, else of the workload with the most lines."""
    timed = [w for w in result.workloads if sum(len(curves.curve_of(s)) > 1 for s in w.scores)]
    if not timed:
        return None
    workload = max(timed, key=lambda w: (w.kind == "open", max(s.offered_rate for s in w.scores)))
    figure = curves.latency(styles, workload.scores, WIDTH, 300)
    names = taking_part(
        result, {s.contestant for s in workload.scores if len(curves.curve_of(s)) > 1}
    )
    return complete(figure, result, styles, f"Latency: {workload.title}", names)


def memory(result, styles):
    if not result.memory:
        return None
    states = sections.memory_states(result.memory)
    if not states:
        return None
    panels = [state for state in ("idle", "after_burst") if state in states] or list(states)[:2]
    names = taking_part(result, result.memory.results)
    figure = new_figure(WIDTH, len(names) * charts.ROW + 50)
    for i, state in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), i + 1)
        rows = sections.memory_rows(result, state)
        charts.draw_bars(axes, result, styles, rows, figures.count, result.memory.target, None)
        axes.set_title(states[state], pad=16)
    place(figure, left=112, top=44, right=62, bottom=6)
    figure.subplots_adjust(wspace=0.62)
    title = f"Bytes per connection, {figures.count(result.memory.connections)} open"
    return complete(figure, result, styles, title, [])


def growth(result, styles):
    if not curves.has_values(result.growth_cpu):
        return None
    figure = curves.growth(
        styles, result.growth_cpu, "connections", figures.duration, False, WIDTH, 300
    )
    names = taking_part(result, result.growth_cpu.lines)
    return complete(figure, result, styles, "CPU of the server per message", names)


def timers(result, styles):
    """The operation that is done the most often: moving a timer; else the first that there is."""
    operations = {
        key: what for key, what in result.growth_timers.items() if curves.has_values(what)
    }
    operation = next(
        (key for key in ("touch", "start") if key in operations), next(iter(operations), None)
    )
    if operation is None:
        return None
    figure = curves.growth(
        styles, operations[operation], "timers waiting", figures.duration, True, WIDTH, 300
    )
    names = taking_part(result, operations[operation].lines)
    return complete(
        figure, result, styles, f"Timers: {sections.TIMER_TITLES.get(operation, operation)}", names
    )
