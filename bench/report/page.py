"""The HTML page: everything in one file."""
import pathlib

import figures
import jinja2
import sections
import theme
import verdicts
from markupsafe import Markup
from result import SUBJECT

HERE = pathlib.Path(__file__).parent


def render(result, file_name):
    """`file_name` is what the reader is told that the figures come from."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["chart"] = Markup  # of our own making, with its texts escaped
    styles = theme.Styles(result)
    found = verdicts.all_verdicts(result)
    ahead, compared = verdicts.against_peers(result)
    return environment.get_template("template.html").render(
        result=result,
        file_name=file_name,
        subject=SUBJECT,
        machine=machine(result.machine),
        run=run(result),
        css=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        colours=theme.COLOURS,
        keys=[key(styles, contestant) for contestant in result.present()],
        headline=headline(result, found, ahead, compared),
        overview_chart=sections.overview_chart(result, styles),
        overview=sections.overview_table(result),
        groups=sections.groups(result, styles),
        memory=sections.memory(result, styles),
        micro=sections.micro(result, styles),
        growth=sections.growth(result, styles),
        verdicts=found,
        date=result.date.replace("T", " ").replace("Z", " UTC"),
    )


def machine(facts):
    parts = [facts.get("cpu")]
    if "processors" in facts:
        parts.append(f"{figures.count(facts['processors'])} processors")
    if "memory_bytes" in facts:
        parts.append(f"{facts['memory_bytes'] / 2**30:.0f} GiB")
    if "kernel" in facts:
        parts.append(f"Linux {facts['kernel']}")
    parts.append(" ".join(filter(None, [facts.get("compiler"), facts.get("flags")])))
    return [part for part in parts if part]


def run(result):
    if not result.rounds:
        return ""
    rounds = f"{result.rounds} round{'' if result.rounds == 1 else 's'}"
    return f"{rounds} of {result.round_seconds:g} s" if result.round_seconds else rounds


def key(styles, contestant):
    """A line of the legend: SVG wants dashes as numbers."""
    line = styles.line(contestant.name)
    dashes = line.get("linestyle", "solid")
    return {
        "name": contestant.name,
        "title": contestant.title,
        "version": contestant.version,
        "variable": styles.variable(contestant.name),
        "width": line["linewidth"] * 1.3,
        "dashes": "none" if dashes == "solid" else " ".join(f"{n * 1.4:g}" for n in dashes[1]),
    }


def headline(result, found, ahead, compared):
    """Three or four figures for who has ten seconds: (figure, what it is, good or bad or "")."""
    tiles = []
    reached = sum(verdict.reached for verdict in found)
    if found:
        mood = "good" if reached == len(found) else "bad"
        tiles.append((f"{reached} of {len(found)}", "targets reached", mood))
    if compared:
        mood = "good" if ahead == compared else ""
        tiles.append((f"{ahead} of {compared}", "workloads at less CPU than every peer", mood))
    first = next((w for w in result.workloads if (s := verdicts.score_of(w, SUBJECT)) and s.ratio), None)
    if first and SUBJECT != result.reference:
        # The middle one of all says more than any chosen one.
        scores = [verdicts.score_of(w, SUBJECT) for w in result.workloads]
        ratios = sorted(s.ratio.median for s in scores if s and s.ratio)
        middle = (ratios[(len(ratios) - 1) // 2] + ratios[len(ratios) // 2]) / 2
        title = result.title(result.reference)
        tiles.append((f"{middle:.3f}", f"times the CPU of {title}, middle of {len(ratios)} workloads", ""))
    idle = result.memory.results.get(SUBJECT, {}).get("idle") if result.memory else None
    if idle is not None:
        tiles.append((f"{idle:,.0f} B", "for an idle connection", ""))
    return tiles
