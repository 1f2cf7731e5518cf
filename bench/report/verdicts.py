"""What the figures say: which targets are reached, and who is the best of the peers."""
from dataclasses import dataclass

import figures
from result import SUBJECT

MEMORY_STATES = {
    "idle": "idle",
    "after_echo": "after each has echoed once",
    "after_burst": "after a burst through each",
    "open_again": "all closed, and opened again",
}


@dataclass
class Verdict:
    """A target and what was measured."""

    group: str
    what: str
    figure: str
    target: str
    reached: bool
    close: bool = False  # missed, but within the quartiles of the rounds


def score_of(workload, name):
    return next((score for score in workload.scores if score.contestant == name), None)


def best_peer(result, workload):
    """The peer with the lowest median of CPU against the reference; None without peers."""
    others = (SUBJECT, result.reference)
    peers = [s for s in workload.scores if s.contestant not in others and s.ratio and not s.errors]
    return min(peers, key=lambda score: score.ratio.median, default=None)


def workload_verdict(workload):
    mine = score_of(workload, SUBJECT)
    if not (mine and mine.ratio and workload.target):
        return None
    return Verdict(
        "CPU, times the reference",
        workload.title,
        figures.precise(mine.ratio.median),
        figures.ratio(workload.target),
        mine.ratio.median <= workload.target and not mine.errors,
        mine.ratio.low <= workload.target < mine.ratio.median,
    )


def memory_verdicts(memory):
    mine = memory.results.get(SUBJECT, {}) if memory and memory.target else {}
    return [
        Verdict("Bytes per connection", text, figures.count(mine[state]),
                figures.count(memory.target), mine[state] <= memory.target)
        for state, text in MEMORY_STATES.items()
        if state in mine
    ]  # fmt: skip


def micro_verdicts(micro):
    verdicts = []
    arguments = micro.arguments or [None]
    for argument, target, value in zip(arguments, micro.targets, micro.values.get(SUBJECT, [])):
        if target is None or value is None:
            continue
        what = micro.title
        if argument is not None:
            what += f", {figures.amount(argument)} {micro.argument}".rstrip()
        verdicts.append(Verdict(f"One operation ({micro.unit})", what, figures.plain(value, 2),
                                figures.plain(target, 1), value <= target))  # fmt: skip
    return verdicts


def all_verdicts(result):
    of_workloads = [workload_verdict(workload) for workload in result.workloads]
    return [
        *(verdict for verdict in of_workloads if verdict),
        *memory_verdicts(result.memory),
        *(verdict for micro in result.micro for verdict in micro_verdicts(micro)),
    ]


def by_group(verdicts):
    groups = {}
    for verdict in verdicts:
        groups.setdefault(verdict.group, []).append(verdict)
    return groups


def against_peers(result):
    """In how many workloads the subject costs less than every peer, and in how many both were."""
    ahead = both = 0
    for workload in result.workloads:
        mine, peer = score_of(workload, SUBJECT), best_peer(result, workload)
        if mine and mine.ratio and peer:
            both += 1
            ahead += mine.ratio.median < peer.ratio.median and not mine.errors
    return ahead, both
