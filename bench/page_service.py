"""The service's section of docs/benchmarks.md."""

from __future__ import annotations

from typing import Any


def service(results: dict[str, Any]) -> str:
    """Return the table of the service's figures against their bars."""
    rows = [f"| {' | '.join(row)} |" for row in _rows(results)]
    table = "\n".join(["| figure | bar | measured |", "|---|---|---|", *rows])
    return (
        "A real server on loopback; the load generator runs on the same cores. A part that was "
        "shortened says by how much; the load is the machine's load average before the part "
        "began, and what is above 0.5 then was other people's work, which the seconds suffer "
        f"from.\n\n{table}\n"
    )


def _statuses(found: dict[str, int]) -> str:
    return ", ".join(f"{count:,} x {status}" for status, count in sorted(found.items()))


def _note(part: dict[str, Any]) -> str:
    short = f"; shortened by {part['shortened_by']:g}" if "shortened_by" in part else ""
    return f" (load {part['load_before']:.1f}{short})"


def _rows(results: dict[str, Any]) -> list[list[str]]:
    rows = []
    if part := results.get("latency"):
        rows.append(
            [
                f"identify, 1 face, {part['people']:,} people, 1 client: p50 / p95",
                "<= 60 / <= 120 ms",
                f"{part['p50_ms']:.0f} / {part['p95_ms']:.0f} ms{_note(part)}",
            ]
        )
    else:
        words = "identify, 1 face, 10,000 people, 1 client: p50 / p95"
        rows.append([words, "<= 60 / <= 120 ms", "not measured yet: the machine was busy"])
    if part := results.get("throughput"):
        sixteen = part["sixteen"][0]
        tail = sixteen["p99_ms"] / sixteen["p50_ms"]
        rows.append(
            [
                "throughput at 16 clients against 1",
                ">= 2x, no error, p99 <= 10x p50",
                f"{part['ratio']:.2f}x ({part['one'][0]['per_second']:.1f} to "
                f"{sixteen['per_second']:.1f} a second), {_statuses(sixteen['statuses'])}, "
                f"p99 {tail:.1f}x p50, {part['mean_batch']:.1f} faces a pass{_note(part)}",
            ]
        )
    else:
        words = "throughput at 16 clients against 1"
        rows.append([words, ">= 2x, no error, p99 <= 10x p50", "not measured yet"])
    if part := results.get("cost"):
        one, many = part["clients_1"], part["clients_16"]
        rows.append(
            [
                "the server's processor time for that request, 1 client / 16 clients",
                "",
                f"{one['cpu_ms']:.0f} / {many['cpu_ms']:.0f} ms; {one['mean_batch']:.1f} / "
                f"{many['mean_batch']:.1f} faces a pass{_note(part)}",
            ]
        )
    if part := results.get("overload"):
        rows.append(
            [
                "overload at 4x capacity, 2 min",
                "only 200 and 429, memory +5 % at most, recovers in 2 s",
                f"{_statuses(part['statuses'])}; memory {100 * part['growth']:+.1f} %; "
                f"{part['recovered_s']:.1f} s{_note(part)}",
            ]
        )
    if part := results.get("soak"):
        rows.append(
            [
                "soak: 20,000 mixed requests, 5 % corrupt",
                "no unexpected status, +50 MiB at most",
                f"{part['requests']:,} requests, {_statuses(part['statuses'])}, "
                f"{part['unexpected']} unexpected; {part['growth_mib']:+.1f} MiB{_note(part)}",
            ]
        )
    if part := results.get("kill"):
        rows.append(
            [
                "kill -9 under load, 20 times",
                "every acknowledged enrolment present, up in 5 s",
                f"{part['kills']} kills, {part['acknowledged']:,} acknowledged, "
                f"{len(part['missing'])} missing; up in {part['start_s']['median']:.1f} s "
                f"(longest {part['start_s']['longest']:.1f}){_note(part)}",
            ]
        )
    if part := results.get("fuzz"):
        rows.append(
            [
                "mutated pictures through the API, 20,000",
                "no crash, no hang above 2 s",
                f"{part['inputs']:,} of {part['kinds']} kinds, {_statuses(part['statuses'])}; "
                f"longest {part['longest_s']:.2f} s; "
                f"{'alive' if part['alive'] else 'DEAD'}{_note(part)}",
            ]
        )
    if part := results.get("decoding"):
        sides = [side for side in part if side.isdigit()]
        shown = "; ".join(
            f"{side} px: {part[side]['here_ms']:.1f} to {part[side]['child_ms']:.1f} ms, "
            f"{part[side]['ratio']:.2f}x"
            for side in sides
        )
        rows.append(["a JPEG decoded in a child, against in the service", "-", shown + _note(part)])
    return rows
