"""The HTML page: everything in one file."""
import pathlib
import statistics

import curves
import figures
import jinja2
import sections
import svg
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
        symbols=[
            svg.symbol(curves.legend_key(styles, contestant.name), f"key-{i}")
            for i, contestant in enumerate(result.shown())
        ],
        headline=headline(result, found, ahead, compared),
        overview_chart=sections.overview_chart(result, styles),
        overview=sections.overview_table(result),
        groups=sections.groups(result, styles),
        memory=sections.memory(result, styles),
        micro=sections.micro(result, styles),
        growth=sections.growth(result, styles),
        verdicts=verdicts.by_group(found),
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


def headline(result, found, ahead, compared):
    """For who has ten seconds: (figure, what it is, good or bad or "")."""
    tiles = []
    missed = sum(not verdict.reached for verdict in found)
    if found:
        what = f"targets reached, {missed} missed" if missed else "targets reached"
        tiles.append((f"{len(found) - missed} of {len(found)}", what, "" if missed else "good"))
    if compared:
        mood = "good" if ahead == compared else ""
        tiles.append((f"{ahead} of {compared}", "workloads at less CPU than every peer", mood))
    scores = [verdicts.score_of(workload, SUBJECT) for workload in result.workloads]
    ratios = [score.ratio.median for score in scores if score and score.ratio]
    if ratios and SUBJECT != result.reference:
        # The median of all says more than any that were chosen.
        what = (
            f"times the CPU of {result.title(result.reference)}, median of {len(ratios)} workloads"
        )
        tiles.append((figures.precise(statistics.median(ratios)), what, ""))
    idle = result.memory.results.get(SUBJECT, {}).get("idle") if result.memory else None
    if idle is not None:
        tiles.append((f"{idle:,.0f} B", "for an idle connection", ""))
    return tiles
