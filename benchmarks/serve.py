"""What stands around the engine: requests a second, p99 and CPU time a request, of edgesmith serve, LitServe and PyTriton.

    python benchmarks/serve.py [--rounds 5] [--seconds 3]     CPU, minutes; writes benchmarks/serve.{json,md}

Two networks, with the same ONNX Runtime session of one thread in each server, the same numbers in and out as bytes:

    digits   the classifier of tests/data/bundles, 9 kB a request, batch 1: little but what the server costs
    photos   timm's mobilenetv3_small_050 with random weights, 600 kB a request, any batch from 1 to 8: each server with batches and without

At 1, 8 and 64 clients. Servers of a network are started once and take turns: each round runs every server at every number of clients for
some seconds. The clients are one thread of wrk (Debian's package), which shares the machine with the server; CPU time is the server's own.
At last four times as many clients as ours has room for come at once, and what becomes of every request is counted.

Peers are run from .venv-serve-peers (serve_peers.txt); without it, or where one does not start, their rows say so. Loopback only.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import AbstractContextManager, ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from serve_load import crowd, load, wrk_there
from serve_servers import Started, of_bytes, of_the_protocol, ours, peer

from edgesmith.runtime.bundle.bundle import Bundle, open_bundle
from edgesmith.runtime.session.benchmark import machine

HERE = Path(__file__).parent
DIGITS = HERE.parent / "tests" / "data" / "bundles" / "classifier_fp32"
PHOTOS = "timm:mobilenetv3_small_050"
CLIENTS = (1, 8, 64)
BATCH = 8
OURS = "edgesmith serve"
ROOMY = 256  # the queue while times are taken: nothing is refused
QUEUE, TIMES, EACH = 64, 4, 10  # the queue of the crowd, how many times what it has room for, requests of each client


def exported(folder: Path) -> Bundle:
    """The network of the photographs, of any batch from 1 to 8; the one that lies there already, where one does."""
    if (folder / "photos.edge").exists():
        return open_bundle(folder / "photos.edge")
    import timm
    import torch

    import edgesmith

    torch.manual_seed(0)
    net = timm.create_model(PHOTOS.removeprefix("timm:"), pretrained=False).eval()
    torch.save(net.state_dict(), folder / "weights.pth")
    made = edgesmith.export(
        PHOTOS, str(folder / "weights.pth"), target="cpu", batch=f"1..{BATCH}", out=folder / "photos.edge"
    )
    return open_bundle(made.path)


def starts(bundle: Bundle, batch: int, queue: int) -> dict[str, AbstractContextManager[Started]]:
    """The servers of a bundle, not started yet."""
    spec = bundle.picture_input
    shape = [size if isinstance(size, int) else 1 for size in spec.shape]
    array = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    end = f", batches of {batch}" if batch > 1 else ""
    own = of_the_protocol(array, spec.name, f"/v2/models/{bundle.name}/infer")
    same = of_the_protocol(array, spec.name, "/v2/models/model/infer")
    return {
        OURS + end: ours(OURS + end, bundle.path, own, batch, queue),
        "LitServe" + end: peer("LitServe" + end, "litserve", bundle.graph, of_bytes(array), batch),
        "PyTriton" + end: peer("PyTriton" + end, "pytriton", bundle.graph, same, batch),
    }


def measure(name: str, bundle: Bundle, batches: tuple[int, ...], rounds: int, seconds: float) -> dict[str, Any]:
    """Rows of one network, and why some have none."""
    why_not: dict[str, str] = {}
    samples: dict[tuple[str, int], list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        servers: list[Started] = []
        for batch in batches:
            for server, start in starts(bundle, batch, ROOMY).items():
                try:
                    servers.append(stack.enter_context(start))
                except (OSError, RuntimeError) as error:
                    why_not[server] = str(error)[:200]
        numbers = [server.numbers() for server in servers]
        for server, found in zip(servers, numbers, strict=True):
            classes = min(len(found), len(numbers[0]), 10)
            np.testing.assert_allclose(
                found[-classes:], numbers[0][-classes:], rtol=1e-4, atol=1e-4, err_msg=server.name
            )
        for turn in range(rounds):
            for clients in CLIENTS:
                for step in range(len(servers)):
                    server = servers[(turn + step) % len(servers)]
                    samples.setdefault((server.name, clients), []).append(load(server, clients, seconds))
                    print(name, server.name, clients, samples[server.name, clients][-1], file=sys.stderr)
    rows = [
        {"server": server, "clients": clients, **{key: float(np.median([one[key] for one in rows])) for key in rows[0]}}
        for (server, clients), rows in sorted(samples.items(), key=lambda one: one[0][1])
    ]
    return {"network": name, "request_bytes": len(servers[0].request.body), "rows": rows, "not_measured": why_not}


def overload(bundle: Bundle) -> list[dict[str, Any]]:
    """What becomes of four times as many as ours has room for, server by server."""
    rows = []
    for name, start in starts(bundle, 1, QUEUE).items():
        try:
            with start as server:
                rows.append({"server": name, **crowd(server, TIMES * (QUEUE + 1), EACH)})
                print(rows[-1], file=sys.stderr)
        except (OSError, RuntimeError) as error:
            rows.append({"server": name, "why_not": str(error)[:200]})
    return rows


def shares(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At each number of clients: the best of ours beside the best of the others, in requests a second and in p99."""
    found = []
    for clients in CLIENTS:
        own, others = (
            [row for row in rows if row["clients"] == clients and row["server"].startswith(OURS) is mine]
            for mine in (True, False)
        )
        if own and others:
            best, rival = (max(group, key=lambda row: row["per_s"]) for group in (own, others))
            quick = min(row["p99_ms"] for row in others)
            found.append({
                "clients": clients, "ours": best["server"], "rival": rival["server"],
                "per_s": best["per_s"] / rival["per_s"], "p99": best["p99_ms"] / quick,
            })  # fmt: skip
    return found


def page(result: dict[str, Any]) -> str:
    chip = result["machine"]
    told = (
        f"`python benchmarks/serve.py`, {result['date']}, {chip['cpu']}, {chip['cores']} cores, load {chip['load']} at the end. One engine "
        f"thread in each server; medians of {result['rounds']} rounds of {result['seconds']:g} s that took turns; clients of wrk."
    )
    lines = ["# Servers around one session", "", told]
    if chip["load"] > 2 * chip["cores"]:
        lines += [
            "",
            "**The machine was busy with other work**, which gives more of its time to a server of several processes: only the CPU time a request can be relied on here.",
        ]
    for part in result["networks"]:
        lines += ["", f"## {part['network']}, {part['request_bytes']:,} bytes a request", ""]
        lines += [
            "| server | clients | requests a second | p50 ms | p99 ms | CPU ms a request | not answered |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in part["rows"]:
            times = f"{row['p50_ms']:.1f} | {row['p99_ms']:.1f} | {row['cpu_ms']:.2f}"
            lines.append(
                f"| {row['server']} | {row['clients']} | {row['per_s']:.0f} | {times} | {row['not_200']:.0f} |"
            )
        lines += [f"\nNot measured: {name}: {why}" for name, why in part["not_measured"].items()]
        lines += [
            "",
            "| clients | the best of ours | the best of the others | requests a second, ours : theirs | p99, ours : the least of theirs |",
            "|---|---|---|---|---|",
        ]
        for row in shares(part["rows"]):
            lines.append(
                f"| {row['clients']} | {row['ours']} | {row['rival']} | {row['per_s']:.2f} | {row['p99']:.2f} |"
            )
    lines += ["", f"## {TIMES} times as many clients as there is room for", ""]
    lines += [
        f"{TIMES * (QUEUE + 1)} clients of {EACH} requests each, the digits; `--queue {QUEUE}` for ours, the peers' own queues have no limit.",
        "",
    ]
    lines += [
        "| server | sent | answered | refused | failed | lost | slowest s | all done in s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["overload"]:
        keys = ("sent", "answered", "refused", "failed", "lost", "slowest_s", "took_s")
        lines.append(
            f"| {row['server']} | "
            + (row["why_not"] if "why_not" in row else " | ".join(f"{row[key]:,}" for key in keys))
            + " |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", choices=["digits", "photos"], help="one of the networks; nothing is written")
    parser.add_argument("--keep", type=Path, help="a folder for the network of the photographs, for further runs")
    asked = parser.parse_args()
    if not wrk_there():
        sys.exit("this needs wrk: apt-get install wrk")
    parts = []
    with tempfile.TemporaryDirectory() as name:
        if asked.only != "photos":
            parts.append(measure("digits", open_bundle(DIGITS), (1,), asked.rounds, asked.seconds))
        if asked.only != "digits":
            parts.append(measure("photos", exported(asked.keep or Path(name)), (1, BATCH), asked.rounds, asked.seconds))
    over = overload(open_bundle(DIGITS)) if asked.only is None else []
    head = {"date": date.today().isoformat(), "rounds": asked.rounds, "seconds": asked.seconds, "machine": machine()}
    result = {**head, "networks": parts, "overload": over}
    if asked.only is None:
        (HERE / "serve.json").write_text(json.dumps(result, indent=1) + "\n")
        (HERE / "serve.md").write_text(page(result))
    print(page(result))


if __name__ == "__main__":
    main()
