"""The result of a benchmark (format "millrace-bench 1", as `compare --json` writes it) in Python.

What is missing or null in the file and need not be there is None or empty here. Durations are in
nanoseconds, ratios are to the reference in the same round.
"""
from dataclasses import dataclass, field

from node import BadResult, load

FORMAT = "millrace-bench 1"
SUBJECT = "millrace"  # whose report it is
LATENCIES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "p99.99": 0.9999, "max": 1}


@dataclass
class Contestant:
    name: str
    title: str
    version: str = ""
    absent: str = ""  # why it did not take part; empty when it did
    shown: bool = True  # it took part, or has results in a part that was merged


@dataclass
class Spread:
    """The quartiles and the median over the rounds."""

    low: float
    median: float
    high: float


@dataclass
class Score:
    """Of one contestant in one workload. A Spread is None where nothing was measured."""

    contestant: str
    rate: Spread | None
    megabytes: Spread | None
    cpu_ns: Spread | None
    user_ns: float | None
    ratio: Spread | None
    latency: dict  # "p50": ns
    curve: list  # (share of the messages, ns)
    server_busy: float | None
    client_bound: bool
    offered_rate: float
    system_calls: dict  # per message
    errors: list


@dataclass
class Workload:
    id: str
    title: str
    group: str
    unit: str
    kind: str
    message_bytes: int
    target: float | None
    scores: list


@dataclass
class Memory:
    """Bytes per connection: {contestant: {"idle": ...}}."""

    connections: int
    target: float | None
    results: dict


@dataclass
class Micro:
    """One operation: a value and maybe a target per argument; what has none has one value."""

    id: str
    title: str
    unit: str
    argument: str
    arguments: list
    targets: list
    values: dict  # {contestant: [value or None]}


@dataclass
class Growth:
    """Something over a quantity: lines = {contestant: [value or None]}, as long as `at`."""

    at: list
    lines: dict


@dataclass
class Result:
    date: str
    command: str
    rounds: int | None
    round_seconds: float | None
    machine: dict
    reference: str
    contestants: dict  # by name
    workloads: list = field(default_factory=list)
    memory: Memory | None = None
    micro: list = field(default_factory=list)
    growth_cpu: Growth | None = None
    growth_memory: Growth | None = None
    growth_timers: dict = field(default_factory=dict)  # {"start": Growth}

    def shown(self):
        return [c for c in self.contestants.values() if c.shown]

    def absent(self):
        return [c for c in self.contestants.values() if c.absent]

    def title(self, name):
        return self.contestants[name].title if name in self.contestants else name


def read_result(path):
    """OSError when the file cannot be read, BadResult when it is not a result."""
    root = load(path)
    if root["format"].text() != FORMAT:
        raise BadResult(f'format is "{root["format"].text()}", not "{FORMAT}"')
    result = Result(
        date=text_or(root, "date", ""),
        command=text_or(root, "command", ""),
        rounds=number_or_none(root, "rounds"),
        round_seconds=number_or_none(root, "round_seconds"),
        machine=read_machine(root.find("machine")),
        reference=root["reference"].text(),
        contestants=read_contestants(root["contestants"]),
        workloads=[read_workload(node) for node in root["workloads"].items()],
        micro=[read_micro(node) for node in items_of(root, "micro")],
    )
    if root.find("memory"):
        result.memory = read_memory(root["memory"])
    if root.find("growth"):
        read_growth(root["growth"], result)
    note_shown(result)
    return result


def note_shown(result):
    """Who is not listed and has results, of a part that was merged, is shown by its name there."""
    names = [score.contestant for workload in result.workloads for score in workload.scores]
    if result.memory:
        names += result.memory.results
    for micro in result.micro:
        names += micro.values
    for growth in (result.growth_cpu, result.growth_memory, *result.growth_timers.values()):
        names += growth.lines if growth else []
    for name in names:
        result.contestants.setdefault(name, Contestant(name, name))
    for contestant in result.contestants.values():
        contestant.shown = not contestant.absent or contestant.name in names


def items_of(node, key):
    found = node.find(key)
    return found.items() if found else []


def text_or(node, key, otherwise):
    found = node.find(key)
    return found.text() if found else otherwise


def number_or_none(node, key):
    found = node.find(key)
    return found.number() if found else None


def measured(number):
    """Nothing that is measured takes no time or does not happen: 0 stands for what is not known."""
    return number if number and number > 0 else None


def read_machine(node):
    members = node.members() if node else {}
    numbers = ("processors", "memory_bytes")
    return {
        key: member.number() if key in numbers else member.text()
        for key, member in members.items()
        if member and key in ("cpu", "kernel", "compiler", "flags", *numbers)
    }


def read_contestants(node):
    contestants = {}
    for item in node.items():
        present = item.find("present")
        contestant = Contestant(
            name=item["name"].text(),
            title=text_or(item, "title", "") or item["name"].text(),
            version=text_or(item, "version", ""),
        )
        if present and not present.flag():
            contestant.absent = text_or(item, "absent", "") or "no reason was given"
        if contestant.name in contestants:
            raise BadResult(f'{item.where}: "{contestant.name}" is there twice')
        contestants[contestant.name] = contestant
    return contestants


def read_spread(node, key):
    found = node.find(key)
    if not found:
        return None
    spread = Spread(*(found[part].number() for part in ("low", "median", "high")))
    return spread if measured(spread.median) else None


def read_numbers(node, key):
    found = node.find(key)
    members = found.members() if found else {}
    return {name: member.number() for name, member in members.items() if member}


def read_curve(node):
    curve = []
    for point in items_of(node, "latency_curve"):
        pair = point.items()
        if len(pair) != 2:
            raise BadResult(f"{point.where} has {len(pair)} values, not a share and a latency")
        share, ns = pair[0].number(), pair[1].number()
        if not 0 <= share <= 1:
            raise BadResult(f"{point.where} has a share of {share}, not one between 0 and 1")
        curve.append((share, ns))
    return sorted(curve)


def read_score(node):
    client_bound = node.find("client_bound")
    return Score(
        contestant=node["contestant"].text(),
        rate=read_spread(node, "rate"),
        megabytes=read_spread(node, "megabytes_per_second"),
        cpu_ns=read_spread(node, "cpu_ns"),
        user_ns=measured(number_or_none(node, "user_ns")),
        ratio=read_spread(node, "ratio_cpu"),
        latency={
            key: ns
            for key, ns in read_numbers(node, "latency_ns").items()
            if key in LATENCIES and measured(ns)
        },
        curve=read_curve(node),
        server_busy=number_or_none(node, "server_busy"),
        client_bound=bool(client_bound and client_bound.flag()),
        offered_rate=number_or_none(node, "offered_rate") or 0,
        system_calls=read_numbers(node, "system_calls"),
        errors=[error.text() for error in items_of(node, "errors")],
    )


def read_workload(node):
    bytes_node = node.find("message_bytes")
    scores = [read_score(item) for item in node["results"].items()]
    return Workload(
        id=node["id"].text(),
        title=node["title"].text(),
        group=text_or(node, "group", "") or "workloads",
        unit=text_or(node, "unit", "") or "message",
        kind=text_or(node, "kind", ""),
        message_bytes=bytes_node.count() if bytes_node else 0,
        target=measured(number_or_none(node, "target")),
        scores=scores,
    )


def read_memory(node):
    results = {}
    for item in node["results"].items():
        numbers = {
            key: m.number() for key, m in item.members().items() if m and key != "contestant"
        }
        results[item["contestant"].text()] = numbers
    connections = node["connections"].count()
    return Memory(connections, measured(number_or_none(node, "target")), results)


def read_values(node, wanted):
    values = [measured(number) for number in node.numbers_or_none()]
    if len(values) != wanted:
        raise BadResult(f"{node.where} has {len(values)} values, not {wanted}")
    return values


def read_micro(node):
    arguments = [
        item.text() if isinstance(item.value, str) else item.number()
        for item in items_of(node, "arguments")
    ]
    wanted = max(1, len(arguments))
    targets = node.find("targets")
    return Micro(
        id=node["id"].text(),
        title=node["title"].text(),
        unit=text_or(node, "unit", "") or "ns",
        argument=text_or(node, "argument", ""),
        arguments=arguments,
        targets=read_values(targets, wanted) if targets else [None] * wanted,
        values={
            item["contestant"].text(): read_values(item["values"], wanted)
            for item in node["results"].items()
        },
    )


def read_lines(at, node):
    for count in at.items():
        if count.number() <= 0:
            raise BadResult(f"{count.where} is {count.number()}, not positive")
    counts = [count.number() for count in at.items()]
    lines = {name: read_values(m, len(counts)) for name, m in node.members().items() if m}
    return Growth(counts, lines)


def read_growth(node, result):
    connections = node.find("connections")
    if connections and connections.find("cpu_ns"):
        result.growth_cpu = read_lines(connections["counts"], connections["cpu_ns"])
    if connections and connections.find("memory_bytes"):
        result.growth_memory = read_lines(connections["counts"], connections["memory_bytes"])
    timers = node.find("timers")
    if timers and timers.find("ns"):
        result.growth_timers = {
            operation: read_lines(timers["live"], lines)
            for operation, lines in timers["ns"].members().items()
            if lines
        }
