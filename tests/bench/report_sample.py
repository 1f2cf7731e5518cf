"""A result as a whole run writes it, made up: the figures are plausible and mean nothing."""
import random

TITLES = {
    "raw": "epoll by hand",
    "millrace": "millrace",
    "libevent": "libevent",
    "libuv": "libuv",
    "libev": "libev",
    "asio": "Asio",
    "boost_asio": "Boost.Asio",
    "liburing": "liburing",
}
VERSIONS = {
    "raw": "",
    "millrace": "0.1.0",
    "libevent": "2.1.12",
    "libuv": "1.44.2",
    "libev": "4.33",
    "asio": "1.22.1",
    "boost_asio": "1.74",
    "liburing": "2.3",
}
PEERS = [name for name in TITLES if name not in ("raw", "millrace")]
COSTS = {
    "raw": 1,
    "millrace": 1.01,
    "libevent": 1.36,
    "libuv": 1.1,
    "libev": 1.02,
    "asio": 1.12,
    "boost_asio": 1.15,
    "liburing": 0.9,
}
BYTES = {
    "raw": 102,
    "millrace": 176,
    "libevent": 1020,
    "libuv": 302,
    "libev": 195,
    "asio": 4680,
    "boost_asio": 4720,
    "liburing": 260,
}
NS = {
    "raw": 4,
    "millrace": 6,
    "libevent": 30,
    "libuv": 60,
    "libev": 15,
    "asio": 110,
    "boost_asio": 120,
    "liburing": 25,
}

# id, title, group, unit, kind, connections, bytes, depth, raw's ns, millrace's ratio, target
# fmt: off
WORKLOADS = [
    ("raw-64-c1", "raw 64 B, 1 connection", "ping-pong", "message", "echo",
     1, 64, 1, 6100, 1.019, 1.03),
    ("raw-64-c100", "raw 64 B, 100 connections", "ping-pong", "message", "echo",
     100, 64, 1, 4700, 1.004, 1.03),
    ("raw-64-c1000", "raw 64 B, 1,000 connections", "ping-pong", "message", "echo",
     1000, 64, 1, 5200, 1.041, 1.03),
    ("framed-64-c100", "framed 64 B, 100 connections", "frames", "message", "echo",
     100, 64, 1, 4900, 0.962, 1.03),
    ("framed-64-d32", "framed 64 B, 32 pipelined, 64 connections", "frames", "message", "echo",
     64, 64, 32, 160, 1.04, 1.08),
    ("raw-16k-c100", "raw 16 KiB, 100 connections", "large messages", "message", "echo",
     100, 16384, 1, 19000, 0.94, 0.95),
    ("framed-1m-c4", "framed 1 MiB, 4 connections", "large messages", "message", "echo",
     4, 1 << 20, 1, 700000, 0.68, 0.7),
    ("churn", "connect, one echo, close", "connections", "connection", "churn",
     16, 64, 1, 41000, 0.97, 0.92),
    ("idle-10k", "10,000 idle + 100 active, raw 64 B", "connections", "message", "echo",
     100, 64, 1, 5000, 1.007, 1.03),
    ("stream", "one-way stream, 4 connections", "streams", "MiB", "stream",
     4, 65536, 1, 150000, 0.98, None),
    ("broadcast", "1 KiB to 1,000 subscribers", "broadcast", "delivery", "broadcast",
     1001, 1024, 1, 3900, 1.02, 1.03),
    ("open-50", "open loop at 50 %, raw 64 B, 100 connections", "open loop", "message", "open",
     100, 64, 1, 5600, 1.02, None),
    ("open-80", "open loop at 80 %, raw 64 B, 100 connections", "open loop", "message", "open",
     100, 64, 1, 5000, 1.01, None),
]
# fmt: on


def spread(value, width=0.03):
    return {"low": value * (1 - width), "median": value, "high": value * (1 + width)}


def score(rng, name, workload):
    _, _, _, _, kind, connections, size, depth, raw_ns, ours, _ = workload
    ratio = {"raw": 1, "millrace": ours}.get(name, COSTS[name] * rng.uniform(0.95, 1.1))
    if depth > 1 and name in PEERS:
        ratio = 1.56 if name == "libevent" else rng.uniform(20, 29)
    cpu = raw_ns * ratio
    busy = 0.5 if kind == "open" else 0.99
    p50 = cpu * max(connections, 1) * depth if kind != "open" else cpu * rng.uniform(1.5, 2)
    tails = {
        0: 0.5,
        0.25: 0.8,
        0.5: 1,
        0.75: 1.1,
        0.9: 1.3,
        0.95: 1.5,
        0.99: 2.2,
        0.995: 2.6,
        0.999: 5,
        0.9995: 7,
        0.9999: 14,
        0.99999: 30,
    }
    curve = [[share, p50 * rng.uniform(0.95, 1.05) * tail] for share, tail in tails.items()]
    at = dict(map(tuple, curve))
    latency = {
        "p50": at[0.5],
        "p90": at[0.9],
        "p99": at[0.99],
        "p99.9": at[0.999],
        "p99.99": at[0.9999],
        "max": p50 * 42,
    }
    timed = kind in ("echo", "open")
    return {
        "contestant": name,
        "rate": spread(1e9 / cpu * busy),
        "megabytes_per_second": spread(size * 1e3 / cpu * busy),
        "cpu_ns": spread(cpu),
        "user_ns": min(cpu * 0.03 + 40 * ratio, cpu / 2),
        "ratio_cpu": spread(ratio, 0.0 if name == "raw" else 0.02),
        "ratio_rate": spread(1 / ratio),
        "latency_ns": latency if timed else None,
        "latency_curve": curve if timed else None,
        "server_busy": busy,
        "client_bound": size >= 1 << 20 and name == "millrace",
        "offered_rate": {"open-50": 106000, "open-80": 170000}.get(workload[0], 0),
        "system_calls": {"recvfrom": 1 / depth, "sendto": 1 / depth, "epoll_wait": 0.031 / depth},
        "errors": [],
    }


def micro(rng, identity, title, argument, arguments, targets, ours):
    results = []
    for name in TITLES:
        if name == "liburing":
            continue
        values = [
            value if name == "millrace" else NS[name] * (1 + i) * rng.uniform(0.8, 1.3)
            for i, value in enumerate(ours)
        ]
        results.append({"contestant": name, "values": values})
    return {
        "id": identity,
        "title": title,
        "unit": "ns",
        "argument": argument,
        "arguments": arguments,
        "targets": targets,
        "results": results,
    }


def growth(rng):
    counts = [1, 10, 100, 1000, 5000, 15000]
    live = [10**n for n in range(3, 8)]
    slope = {"raw": 0.05, "millrace": 0.02, "libev": 0.4, "libuv": 0.9, "libevent": 0.7}
    shape = (1.2, 1.05, 1, 1.04, 1.1, 1.16)
    return {
        "connections": {
            "counts": counts,
            "cpu_ns": {
                n: [4700 * COSTS[n] * s * rng.uniform(0.98, 1.02) for s in shape] for n in TITLES
            },
            "memory_bytes": {n: [BYTES[n] * (1 + 40 / c) for c in counts] for n in TITLES},
        },
        "timers": {
            "live": live,
            "ns": {
                operation: {
                    n: [NS[n] * scale * (1 + s * i) for i in range(5)] for n, s in slope.items()
                }
                for operation, scale in (
                    ("start", 1),
                    ("cancel", 0.6),
                    ("touch", 0.8),
                    ("expire", 9),
                )
            },
        },
    }


def full(seed=1):
    """Everything that the format has."""
    rng = random.Random(seed)
    keys = ("id", "title", "group", "unit", "kind", "connections", "message_bytes", "depth")
    workloads = []
    for row in WORKLOADS:
        workload = dict(zip(keys, row))
        workload |= {"idle_connections": 0, "framed": "framed" in row[0], "target": row[-1]}
        takes_part = [n for n in TITLES if n != "liburing" or row[4] == "echo"]
        workload["results"] = [score(rng, name, row) for name in takes_part]
        workloads.append(workload)
    workloads[3]["results"][2]["errors"] = ["3 x closed by the server"]
    states = {
        "idle": 1,
        "after_echo": 1.01,
        "after_burst": 1.06,
        "after_close": 0.1,
        "open_again": 1.06,
    }
    timers = ["timers waiting", [1000, 100000, 1000000]]
    return {
        "format": "millrace-bench 1",
        "date": "2026-11-21T15:00:00Z",
        "command": "./dev bench",
        "rounds": 7,
        "round_seconds": 1.0,
        "machine": {
            "cpu": "AMD EPYC 7B13",
            "processors": 2,
            "kernel": "6.18.44",
            "compiler": "GCC 12.2.0",
            "flags": "-O3 -DNDEBUG",
            "memory_bytes": 25e9,
        },
        "reference": "raw",
        "contestants": [
            {"name": n, "title": t, "version": VERSIONS[n], "present": True}
            for n, t in TITLES.items()
        ]
        + [
            {
                "name": "muduo",
                "title": "muduo",
                "version": "",
                "present": False,
                "absent": "it is not packaged by Debian",
            }
        ],
        "workloads": workloads,
        "memory": {
            "connections": 10000,
            "target": 180,
            "results": [
                {"contestant": n} | {state: b * factor for state, factor in states.items()}
                for n, b in BYTES.items()
            ],
        },
        "micro": [
            micro(rng, "timer_start", "start a timer", *timers, [6, 8, 10], [7.1, 7.0, 7.2]),
            micro(rng, "timer_touch", "move a timer", *timers, [2, 4, 10], [1.9, 2.8, 4.5]),
            micro(rng, "timer_cancel", "cancel a timer", *timers, [4, 5, 12], [3.1, 3.3, 3.2]),
            micro(rng, "timer_expire", "expire a timer", *timers, [40, 60, 140], [38, 58, 120]),
            micro(rng, "post", "post from another thread", None, [], [40], [36]),
            micro(rng, "decode", "decode a 64 B frame", None, [], None, [2.8]),
        ],
        "growth": growth(rng),
    }
