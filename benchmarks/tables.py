"""Writes the tables of docs/benchmarks.md from the JSON records.

    python benchmarks/tables.py [benchmarks/latest.json] [--gpu benchmarks/gpu.json]

What stands between ``<!-- begin: name -->`` and ``<!-- end: name -->`` is replaced; the rest of the page is left alone.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
COPIES = ("memcpy", "NT copy")
#: The group with a table of its own.
NETWORKS = "networks"
DENOISERS = "denoisers"
TRAINING_DATA = "training data"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def machine(record: dict[str, Any]) -> str:
    info, commit = record["machine_info"], record["commit_info"]
    cpu = info["cpu"]
    versions = ", ".join(f"{name} {version}" for name, version in info["versions"].items() if version)
    missing = ", ".join(name for name, version in info["versions"].items() if not version)
    changed = " with uncommitted changes" if commit.get("dirty") else ""
    lines = [
        f"* Measured {record['datetime'][:10]} at commit {commit['id'][:10]}{changed}.",
        f"* {cpu.get('brand_raw', info['machine'])}, {info['cores']} cores, {info['memory_gib']} GiB, "
        f"{info['system']}; load average {info['load'][0]:.1f} when the run ended.",
        f"* Python {info['python']}; {versions}. rawzoo's ops: {info['ops']['cpu']}.",
    ]
    return "\n".join([*lines, f"* Not installed, so not compared: {missing}."] if missing else lines)


def comparisons(record: dict[str, Any]) -> list[dict[str, Any]]:
    found = [b["extra_info"] | {"group": b["group"]} for b in record["benchmarks"] if "peers" in b["extra_info"]]
    return sorted(found, key=lambda e: (e["group"], e["name"], e["megapixels"], e["threads"]))


def wrong(entry: dict[str, Any]) -> bool:
    """A fast wrong answer must not stand in a table without saying so."""
    return entry["accuracy"]["equal"] < 0.995


def times(record: dict[str, Any]) -> str:
    parts = []
    entries = [e for e in comparisons(record) if e["group"] not in (NETWORKS, DENOISERS, TRAINING_DATA)]
    for group in dict.fromkeys(e["group"] for e in entries):
        rows = []
        for entry in (e for e in entries if e["group"] == group):
            peers = entry["peers"]
            copies = [number(1 / peers[name]["times_as_fast"]) if name in peers else "" for name in COPIES]
            others = ", ".join(
                f"{name} {number(peer['times_as_fast'])}" for name, peer in peers.items() if name not in COPIES
            )
            name = entry["name"] + (" **differs from the reference**" if wrong(entry) else "")
            own = entry["ms"]
            where = str(entry["megapixels"]), str(entry["threads"])
            took = f"{number(own['min'])} / {number(own['median'])}"
            rows.append([name, *where, took, *copies, others])
        head = ["", "MP", "threads", "ms, min / median", "x memcpy", "x NT copy", "times as fast as"]
        parts.append(f"### {group}\n\n{table(head, rows)}")
    return "\n\n".join(parts)


def networks(record: dict[str, Any]) -> str:
    rows = []
    for entry in (e for e in comparisons(record) if e["group"] == NETWORKS):
        name = entry["name"] + (" **differs from plain torch**" if wrong(entry) else "")
        took = f"{number(entry['ms']['min'])} / {number(entry['ms']['median'])}"
        (peer,) = entry["peers"].values()
        fast = peer["times_as_fast"]
        rate = number(entry["ms"]["median"] / 1e3 / entry["megapixels"])
        reached = verdict(fast, peer["goal"])
        rows.append([name, f"{entry['megapixels']:g}", str(entry["threads"]), took, rate, number(fast), reached])
    if not rows:
        return "Not in the latest record."
    return table(["", "MP", "threads", "ms, min / median", "s/MP", "times as fast as plain torch", "not slower"], rows)


def _rate(timed: dict[str, Any], entry: dict[str, Any]) -> str:
    return number(timed["ms"]["min"] / 1e3 / entry["megapixels"])


def denoisers(record: dict[str, Any]) -> str:
    entries = [e for e in comparisons(record) if e["group"] == DENOISERS]
    if not entries:
        return "Not in the latest record."
    names = list(entries[0]["peers"])
    rows = []
    for entry in entries:
        times = [number(entry["peers"][name]["times_as_fast"]) for name in names]
        rows.append([entry["name"], f"{entry['megapixels']:g}", str(entry["threads"]), _rate(entry, entry), *times])
    # What the published ones took beside one of ours, of the largest pictures.
    beside = max(entries, key=lambda entry: entry["megapixels"])["name"]
    for entry in (e for e in entries if e["name"] == beside):
        where = [f"{entry['megapixels']:g}", str(entry["threads"])]
        for name, peer in list(entry["peers"].items())[1:]:
            rows.append([f"{name}, raw to sRGB", *where, _rate(peer, entry), *[""] * len(names)])
    found = table(["", "MP", "threads", "s/MP", *(f"times as fast as {name}" for name in names)], rows)
    peaks = [peak for b in record["benchmarks"] for peak in b["extra_info"].get("gigabytes", {}).items()]
    return f"{found}\n\n{table(['one picture, whole process', 'peak GiB'], [[k, number(v)] for k, v in peaks])}"


def training_data(record: dict[str, Any]) -> str:
    entries = [e for e in comparisons(record) if e["group"] == TRAINING_DATA]
    rows = []
    for entry in entries:
        timed = {**entry["peers"], entry["name"]: entry}
        rows += [[name, number(size), number(timed[name]["ms"]["min"])] for name, size in entry["megabytes"].items()]
    return table(["", "MB a pair", "ms a crop"], rows) if rows else "Not in the latest record."


def verdict(value: float, goal: dict[str, Any]) -> str:
    def reached(bound: float) -> bool:
        return value <= bound if goal["kind"] == "time" else value >= bound

    if goal["stretch"] is not None and reached(goal["stretch"]):
        return "stretch"
    if goal["must"] is None:
        return "missed"
    return "yes" if reached(goal["must"]) else "**no**"


def goals(record: dict[str, Any]) -> str:
    rows = []
    for entry in comparisons(record):
        for name, peer in entry["peers"].items():
            goal = peer.get("goal")
            if goal is None:
                continue
            as_time = goal["kind"] == "time"
            value = 1 / peer["times_as_fast"] if as_time else peer["times_as_fast"]
            sign, unit = ("<=", f"x {name}") if as_time else (">=", f"x as fast as {name}")
            bounds = [f"{sign} {goal[key]:g}" if goal[key] is not None else "" for key in ("must", "stretch")]
            where = f"{entry['megapixels']} MP, {entry['threads']} thread{'s' if entry['threads'] > 1 else ''}"
            rows.append([entry["name"], where, unit, number(value), *bounds, verdict(value, goal)])
    for benchmark in record["benchmarks"]:
        extra = benchmark["extra_info"]
        if "us" in extra:
            goal = extra["goal"] | {"kind": "time"}
            value = extra["us"]["min"]
            bounds = [f"<= {goal['must']}", f"<= {goal['stretch']}"]
            unit = f"us (torch.add with out: {number(extra['torch_add_us'])})"
            rows.append([extra["name"], "4x4 pixels", unit, number(value), *bounds, verdict(value, goal)])
    return table(["", "where", "unit", "measured", "must", "stretch", "reached"], rows)


def quality(record: dict[str, Any]) -> str:
    parts = []
    for benchmark in record["benchmarks"]:
        extra = benchmark["extra_info"]
        for kind, values in extra.get("psnr", {}).items():
            known = {name: value for name, value in values.items() if value is not None}
            rows = [[name, f"{value:.2f}"] for name, value in sorted(known.items(), key=lambda item: -item[1])]
            parts.append(table([f"{kind}", "dB"], rows))
        if "protocol" in extra:
            parts.insert(0, f"Protocol: {extra['protocol']}.")
    return "\n\n".join(parts)


def gpu(record: dict[str, Any]) -> str:
    info, bandwidth = record["machine"], record["copy_gb_per_s"]
    lines = [
        f"* Measured {record['date'][:10]} at commit {info['commit'][:10]} on {info['gpu']}, driver {info['driver']}, "
        f"torch {info['torch']}, CUDA {info['cuda']}.",
        f"* Device copy: {number(bandwidth)} GB/s read plus written.",
        f"* Correctness: {record['correctness']['checks']} comparisons with the CPU, "
        f"{len(record['correctness']['failures'])} failures.",
        *(f"* compute-sanitizer {tool}: {result}." for tool, result in record["sanitizer"].items()),
        f"* Call overhead, tiny tensor: {number(record['call_overhead_us'])} us.",
    ]
    rows = [
        [
            row["name"],
            str(row["megapixels"]),
            number(row["us"]),
            number(row["gb_per_s"]),
            number(row["fraction"]),
            "" if row["must"] is None else f">= {row['must']}",
            "" if row["must"] is None else ("yes" if row["fraction"] >= row["must"] else "**no**"),
        ]
        for row in record["speed"]
    ]
    head = ["", "MP", "us", "GB/s", "of copy", "must", "reached"]
    return "\n".join(lines) + "\n\n" + table(head, rows) + "\n\n" + not_shown(record)


def not_shown(record: dict[str, Any]) -> str:
    """What this GPU run leaves open."""
    correctness = record["correctness"]
    open_points = [f"the op {name}" for name in correctness["ops_without_a_case"]]
    if left := correctness["cases_left_for_lack_of_time"]:
        open_points.append(f"{left} variants, for which the comparison had no time")
    if left := record["speed_left_for_lack_of_time"]:
        open_points.append(f"the speed of {left} variants and sizes, for which there was no time")
    for tool in ("memcheck", "racecheck"):
        if "ERROR SUMMARY: 0" not in (result := record["sanitizer"].get(tool, "not run")) and "0 hazards" not in result:
            open_points.append(f"compute-sanitizer's {tool}: {result}")
    open_points.append(f"any card but {record['machine']['gpu']}, several cards in one machine, and Windows")
    return "### What no GPU has shown yet\n\n" + "\n".join(f"* {point}" for point in open_points)


def replace(page: str, name: str, text: str) -> str:
    pattern = re.compile(rf"(<!-- begin: {name} -->\n).*?(<!-- end: {name} -->)", re.DOTALL)
    if not pattern.search(page):
        sys.exit(f"{PAGE.name} has no place for {name}.")
    return pattern.sub(lambda match: f"{match[1]}\n{text}\n\n{match[2]}", page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", nargs="?", type=Path, default=HERE / "latest.json")
    parser.add_argument("--gpu", type=Path, help="what gpu.py wrote")
    options = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    record = json.loads(options.record.read_text(encoding="utf-8"))
    for name, section in {
        "machine": machine,
        "goals": goals,
        "times": times,
        "networks": networks,
        "denoisers": denoisers,
        "training-data": training_data,
        "quality": quality,
    }.items():
        page = replace(page, name, section(record))
    if options.gpu:
        page = replace(page, "gpu", gpu(json.loads(options.gpu.read_text(encoding="utf-8"))))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
