"""What benchmarks/grounding.py measured, as a page and two drawings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from grounding_plot import lines
from grounding_runs import OFFICIAL, OFFICIAL_BF16

MEMORY_TARGET = 0.4
TARGETS = (  # column, key of a row, the most that it may be
    ("first, of the official first", "first of {official}", 0.5),
    ("further, of the official", "further of {official}", 0.05),
    ("further, of our own first", "further of own first", 0.08),
)
COLUMNS = ("flow", "first, s", "CPU s", "of official fp32", "of official bf16", "further, s", "of official fp32",
           "of own first", "peak of process, MB", "above the loaded model, MB", "scores off, of the largest")  # fmt: skip
HEAD = """
How to read it: the heads of [grounding.py](grounding.py) and [grounding_flows.py](grounding_flows.py). A ratio is the median of
those within a round, with its quartiles. "first": a screenshot and an instruction to a point; "further": another instruction on
the same screen, which all flows but ours compute from the beginning. The weights are random: scores off tell that a flow
computes the method, not what a precision costs in clicks ([grounding_accuracy.md](grounding_accuracy.md)).
""".strip()


def written(report: Mapping[str, Any], plots: Mapping[str, str]) -> str:
    """The page in Markdown; ``plots`` are {part: file name} of the drawings beside it."""
    facts = ", ".join(f"{key} {value}" for key, value in {**report["machine"], **report["versions"]}.items())
    network = (
        f"Network {report['size']!r}: {report['parameters'] / 1e6:,.0f} M parameters; {report['network']}. "
        f"Screen {report['screen'][0]}x{report['screen'][1]}, {report['visual_tokens']:,} visual tokens."
    )
    found = [
        "# GUI-AIMA on the CPU, side by side", "", HEAD, "",
        f"{report['date']}; `{report['command']}`. {facts}.", "",
        network, "",
    ]  # fmt: skip
    tables = {part: rows for part, rows in report["parts"].items() if part.startswith("table") and rows}
    found += ["## Targets", "", *_targets(tables), ""]
    for part, rows in tables.items():
        threads = int(part.split()[1])
        found += [f"## {threads} thread{'s' if threads > 1 else ''}", "", *_table(rows), ""]
    for part, words in (("sizes", "Against the size of the screen"), ("screens", "Against the number of open screens")):
        if part in plots:
            told = _sizes(report["parts"][part]) if part == "sizes" else _screens(report["parts"][part])
            found += [f"## {words}", "", f"![{words}]({plots[part]})", "", *told, ""]
    if report["notes"]:
        found += ["## Told by the exports", "", *(f"- {name}: {note}" for name, note in report["notes"]), ""]
    if report["failed"]:
        found += ["## Not measured", "", *(f"- {name}: {why}" for name, why in report["failed"].items()), ""]
    return "\n".join(found).rstrip() + "\n"


def _table(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found = [_cells(COLUMNS), "|---" * len(COLUMNS) + "|"]
    for name, row in rows.items():
        found.append(
            _cells(
                (name, f"{row['first_wall_s']:.2f}", f"{row['first_cpu_s']:.2f}", _ratio(row, f"first of {OFFICIAL}"),
                 _ratio(row, f"first of {OFFICIAL_BF16}"), f"{row['further_wall_s']:.3f}", _ratio(row, f"further of {OFFICIAL}", 4),
                 _ratio(row, "further of own first", 4), f"{row['life_bytes'] / 1e6:,.0f}", f"{row['growth_bytes'] / 1e6:,.0f}",
                 "finds no point" if row["off"] is None else f"{row['off']:.0e}")
            )
        )  # fmt: skip
    rounds = sorted({row["rounds"] for row in rows.values()})
    return [*found, "", f"Rounds: {', '.join(map(str, rounds))}."]


def _targets(tables: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Each of our rows beside what was aimed at: the official flow in float32, and in bf16 for rows that are no float32."""
    heads = ("flow", "threads", "beside", *(f"{word} <= {most:g}" for word, _, most in TARGETS),
             f"peak of process <= {MEMORY_TARGET:g}", "above the loaded model")  # fmt: skip
    found = [_cells(heads), "|---" * len(heads) + "|"]
    met: dict[str, list[str]] = {}
    missed: dict[str, list[str]] = {}
    for part, rows, name, official in _ours(tables):
        row, peer = rows[name], rows[official]
        ratios = [(word, row[key.format(official=official)][1], most) for word, key, most in TARGETS]
        ratios.append(("peak of the process", row["life_bytes"] / peer["life_bytes"], MEMORY_TARGET))
        if official == OFFICIAL:
            for word, ratio, most in ratios:
                told = f"{name.removeprefix('ours, ')}, {part.removeprefix('table ')} threads ({ratio:.3f})"
                (met if ratio <= most else missed).setdefault(f"{word} <= {most:g}", []).append(told)
        above = row["growth_bytes"] / max(peer["growth_bytes"], 1)
        cells = (*(_told(ratio, most) for _, ratio, most in ratios), f"{above:.2f}")
        found.append(_cells((name, part.split()[1], official.removeprefix("official, maps, "), *cells)))
    told = [
        f"- {word}, beside the official flow in fp32: met by {'; '.join(met.get(word, ['none']))}. "
        f"Missed by {'; '.join(missed.get(word, ['none']))}."
        for word in dict.fromkeys([*met, *missed])
    ]
    return [*told, "", *found, "", "A row that misses its target is **bold**."]


def _ours(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any], str, str]]:
    for part, rows in tables.items():
        for name in rows:
            if name.startswith("ours"):
                for official in (OFFICIAL, *(() if name.endswith("fp32") else (OFFICIAL_BF16,))):
                    if official in rows:
                        yield part, rows, name, official


def _sizes(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    words = list(dict.fromkeys(word for row in rows.values() for word in row["sizes"]))
    found = [_cells(("flow", *words)), "|---" * (len(words) + 1) + "|"]
    for name, row in rows.items():
        cells = []
        for word in words:
            cell = row["sizes"].get(word, {"why": "not run"})
            further = (
                f", further {cell['further_wall_s']:.2f} s" if name.startswith("ours") and "why" not in cell else ""
            )
            cells.append(cell.get("why") or f"first {cell['first_wall_s']:.2f} s{further}, {cell['growth_bytes'] / 1e6:,.0f} MB above the model")  # fmt: skip
        found.append(_cells((name, *cells)))
    threads = {row["threads"] for row in rows.values()}
    rounds = {row["rounds"] for row in rows.values()}
    return [*found, "", f"Threads: {', '.join(map(str, threads))}; rounds: {', '.join(map(str, sorted(rounds)))}."]


def _screens(parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    heads = ("pool", "screens open", "of them kept", "further, s", "in one batch, s each", "pool, MB", "resident, MB")
    found = [_cells(heads), "|---" * len(heads) + "|"]
    for pool, part in parts.items():
        for row in part["rows"]:
            found.append(
                _cells((pool, str(row["screens"]), str(row["kept"]), f"{row['further_wall_s']:.3f}",
                        f"{row['batch_wall_s']:.3f}", f"{row['pool_bytes'] / 1e6:,.1f}", f"{row['resident_bytes'] / 1e6:,.0f}"))
            )  # fmt: skip
    return [*found, "", "A screen that the pool has no room for is computed again from its picture by the click."]


def drawn(report: Mapping[str, Any]) -> dict[str, str]:
    """{part: SVG} of the parts that were measured."""
    found, parts = {}, report["parts"]
    if rows := parts.get("sizes"):
        words = list(dict.fromkeys(word for row in rows.values() for word in row["sizes"]))
        tokens = {word: report["size_tokens"][word] for word in words}
        series: dict[str, list[tuple[float, float]]] = {}
        for name, row in rows.items():
            for kind in ("first", *(("further",) if name.startswith("ours") else ())):
                line = [
                    (float(tokens[word]), one[f"{kind}_wall_s"])
                    for word, one in row["sizes"].items()
                    if "why" not in one
                ]
                if line:
                    series[f"{name}, {kind}" if kind == "further" else name] = line
        if series:
            names = {float(count): f"{word}: {count:,}" for word, count in tokens.items()}
            found["sizes"] = lines("An instruction against the size of the screen", "visual tokens of the screen", "seconds", series, names)  # fmt: skip
    if screens := parts.get("screens"):
        series = {
            pool: [(float(row["screens"]), row["further_wall_s"]) for row in part["rows"]]
            for pool, part in screens.items()
        }
        official = next((rows[OFFICIAL] for part, rows in parts.items() if part.startswith("table") and OFFICIAL in rows
                         and rows[OFFICIAL]["threads"] == next(iter(screens.values()))["threads"]), None)  # fmt: skip
        if official:
            most = max(x for line in series.values() for x, _ in line)
            series["official, maps, fp32"] = [(1.0, official["first_wall_s"]), (most, official["first_wall_s"])]
        found["screens"] = lines("A further instruction against the number of open screens", "open screens, each clicked in turn", "seconds", series)  # fmt: skip
    return found


def _ratio(row: Mapping[str, Any], key: str, digits: int = 2) -> str:
    if key not in row:
        return ""
    low, middle, high = row[key]
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _told(ratio: float, most: float) -> str:
    return f"{ratio:.3f}" if ratio <= most else f"**{ratio:.3f}**"


def _cells(words: Any) -> str:
    return f"| {' | '.join(words)} |"
