"""Judges what `rehearse --json` printed: the numbers, not the exit code alone."""

import json
import sys

EXPECTED = {"verdicts": 121, "not_enforced": 0, "deliveries": 4539}


def faults(path, report):
    """Yields what is wrong with one report."""
    verdicts, deliveries = report["verdicts"], report["deliveries"]
    wanted = [
        ("verdicts.expected", verdicts["expected"], EXPECTED["verdicts"]),
        ("verdicts.unexpected", verdicts["unexpected"], 0),
        ("verdicts.not_enforced", verdicts["not_enforced"], EXPECTED["not_enforced"]),
        ("deliveries.expected", deliveries["expected"], EXPECTED["deliveries"]),
        ("deliveries.made", deliveries["made"], EXPECTED["deliveries"]),
        ("deliveries.missing", deliveries["missing"], 0),
        ("deliveries.wrong", deliveries["wrong"], 0),
    ]
    for name, got, want in wanted:
        if got != want:
            yield f"{path}: {name} is {got}, must be {want}"


def main():
    day, with_faults = sys.argv[1:3]
    bad = []
    for path in (day, with_faults):
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
        bad += faults(path, report)
        print(json.dumps({name: report.get(name) for name in ("verdicts", "deliveries", "latency_ms", "publish_gap_max_ms", "faults")}))
    if not report["faults"]["played"]:
        bad.append(f"{with_faults}: no fault was played")
    print("\n".join(bad) or "both days are as they must be")
    sys.exit(1 if bad else 0)


main()
