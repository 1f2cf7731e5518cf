#!/usr/bin/python3
"""Turns what millrace-micro wrote into the parts "micro" and "growth_timers" of the benchmark's JSON.

  millrace-micro --benchmark_out=micro.json --benchmark_out_format=json \\
      --benchmark_repetitions=3 --benchmark_enable_random_interleaving=true
  millrace-micro --growth --benchmark_out=growth.json --benchmark_out_format=json
  micro_json.py micro.json growth.json > parts.json

Benchmarks are called OPERATION/CONTESTANT/ARGUMENT; others are passed over. A value is the median
of the repetitions, null where nothing was measured.
"""
import json
import statistics
import sys

# Nanoseconds for each argument, for millrace; None: no target.
OPERATIONS = {
    "timer_start": ("start a timer", "timers waiting", [6, 8, 10]),
    "timer_touch": ("move a timer that waits", "timers waiting", [2, 4, 10]),
    "timer_cancel": ("cancel a timer", "timers waiting", [4, 5, 12]),
    "timer_expire": ("expire a timer, with its callback", "timers waiting", [40, 60, 140]),
    "post": ("post a task from another thread", "producers", [40, None]),
    "post_and_run": ("post a task and run it", "producers", None),
    "wakeup_sleeping": ("wake a loop that sleeps and have its answer", "loops woken", None),
    "wakeup_busy_poll": ("have the answer of a loop that polls", "loops woken", None),
    "dispatch": ("dispatch and read, of 10,000 watched", "ready at once", None),
}
GROWTH = "growth_timer_"
TO_NS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}


def read(paths):
    """{operation: {contestant: {argument: [ns, ...]}}}, in the order in which they ran."""
    samples = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            try:
                runs = json.load(file)["benchmarks"]
            except (json.JSONDecodeError, KeyError, TypeError):
                raise ValueError(path + ": not what --benchmark_out_format=json writes") from None
        for run in runs:
            parts = run["run_name"].split("/")
            if run.get("run_type") != "iteration" or run.get("error_occurred") or len(parts) < 3:
                continue
            operation, contestant, argument = parts[:3]
            if operation not in OPERATIONS and not operation.startswith(GROWTH):
                continue
            # Round trips: the median of all, not the mean.
            ns = run.get("p50_ns", run["real_time"] * TO_NS[run["time_unit"]])
            by_argument = samples.setdefault(operation, {}).setdefault(contestant, {})
            by_argument.setdefault(int(argument), []).append(ns)
    return samples


def arguments_of(contestants):
    return sorted({argument for values in contestants.values() for argument in values})


def medians(by_argument, arguments):
    return [
        round(statistics.median(by_argument[a]), 2) if a in by_argument else None for a in arguments
    ]


def micro(samples):
    parts = []
    for operation, (title, argument, targets) in OPERATIONS.items():
        contestants = samples.get(operation)
        if not contestants:
            continue
        arguments = arguments_of(contestants)
        parts.append({
            "id": operation,
            "title": title,
            "unit": "ns",
            "argument": argument,
            "arguments": arguments,
            # Of a part of the arguments nobody could tell which target is whose.
            "targets": targets if targets and len(targets) == len(arguments) else None,
            "results": [
                {"contestant": name, "values": medians(values, arguments)}
                for name, values in sorted(contestants.items(), key=order)
            ],
        })
    return parts


def growth_timers(samples):
    grown = {k[len(GROWTH):]: v for k, v in samples.items() if k.startswith(GROWTH)}
    live = sorted({a for contestants in grown.values() for a in arguments_of(contestants)})
    ns = {
        operation: {
            name: medians(values, live) for name, values in sorted(contestants.items(), key=order)
        }
        for operation, contestants in grown.items()
    }
    return {"live": live, "ns": ns}


def order(item):
    """The baseline, ours, then the others."""
    known = ["raw", "millrace", "libevent", "libuv", "libev", "asio", "boost_asio"]
    return known.index(item[0]) if item[0] in known else len(known)


def main(paths):
    if not paths or paths[0] in ("-h", "--help"):
        print(__doc__, file=sys.stderr)
        return 0 if paths else 2
    try:
        samples = read(paths)
    except (OSError, ValueError) as error:
        print(f"micro_json.py: {error}", file=sys.stderr)
        return 1
    if not samples:
        print("micro_json.py: no benchmark of ours in " + ", ".join(paths), file=sys.stderr)
        return 1
    json.dump({"micro": micro(samples), "growth_timers": growth_timers(samples)}, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
