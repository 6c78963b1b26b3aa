"""Judges what `rehearse --json` printed: the numbers, not the exit code alone."""

import json
import sys

# What the built-in day holds: member by member, as the report names them.
EXPECTED = {
    "verdicts": {"expected": 121, "unexpected": 0, "not_enforced": 0},
    "deliveries": {"expected": 4539, "made": 4539, "missing": 0, "wrong": 0, "disordered": 0},
    "acknowledgements": {"expected": 1158, "made": 1158},
    "needs": {"expected": 40, "met": 40},
    "escalations": {"expected": 3, "taken": 3, "wrong": 0},
    "escalations.alerts": {"expected": 11, "made": 11, "missing": 0, "wrong": 0},
    "outputs": {"expected": 9, "delivered": 9, "missing": 0, "wrong": 0, "unsigned": 0},
    "dead_letters": {"expected": 0, "found": 0},
}
# While nothing breaks, nothing has to be done twice.
CALM = {"outputs": {"repeated": 0}, "": {"retries": 0}}
# Whoever was needed waited for the step, which comes after 20 s at the earliest.
CONFIRM_MAX_MS = 20_000
SHOWN = ("verdicts", "deliveries", "latency_ms", "publish_gap_max_ms", "time_to_confirm_ms", "escalations", "outputs", "retries", "faults")


def member(report, path):
    """The part of a report that a path with dots names; an empty one where it is missing."""
    for name in filter(None, path.split(".")):
        report = report.get(name, {})
    return report


def faults(path, report, wanted):
    """Yields what is wrong with one report."""
    for part, members in wanted.items():
        for name, want in members.items():
            got = member(report, part).get(name)
            if got != want:
                yield f"{path}: {part}.{name} is {got}, must be {want}"


def main():
    day, with_faults = sys.argv[1:3]
    bad = []
    for path in (day, with_faults):
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
        bad += faults(path, report, EXPECTED)
        if path == day:
            bad += faults(path, report, CALM)
        if member(report, "time_to_confirm_ms.critical").get("max", 0) < CONFIRM_MAX_MS:
            bad.append(f"{path}: nobody waited for a step to confirm")
        print(json.dumps({name: report.get(name) for name in SHOWN}))
    if not report["faults"]["played"]:
        bad.append(f"{with_faults}: no fault was played")
    print("\n".join(bad) or "both days are as they must be")
    sys.exit(1 if bad else 0)


main()
