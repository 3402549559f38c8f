"""The table of ci/instructions: profiles of callgrind against the baseline.

Of each profile the instructions are summed up, and apart from them those of the CRC: which CRC runs depends on what valgrind
knows of the processor, so it is shown and not judged.
"""

import json
import pathlib
import re
import subprocess
import sys

TOLERANCE = 2.0  # per cent; runs of one build differ by far less


def output(*command):
    return subprocess.check_output(command, text=True).split("\n")[0]


def count(profile):
    """Instructions of a profile, less what the example does in place of the kernel; and how many of them are the CRC's."""
    names, name, callee, called = {}, None, None, False
    total = crc = 0
    for line in profile.read_text().splitlines():
        if found := re.match(r"(c?)fn=\((\d+)\)(?: (.*))?", line):
            if found[3]:
                names[found[2]] = found[3]
            if found[1]:
                callee = names[found[2]]
            else:
                name = names[found[2]]
        elif line.startswith("calls="):
            called = True  # the next line is what the callee took, with all that it called
        elif found := re.match(r"[+*-]?\d*\s+(\d+)$", line):
            if not called:
                total += int(found[1])
                crc += int(found[1]) * ("crc" in name.lower())
            elif "kernel_" in callee and "kernel_" not in name:
                total -= int(found[1])
            called = False
    return total, crc


def measure(work):
    figures, crcs = {}, {}
    for profile in sorted(work.glob("*.count")):
        done = int(profile.read_text())
        total, crc = count(profile.with_suffix(""))
        row = profile.stem
        figures[row] = round((total - crc) / done, 1)
        crcs[row] = round(crc / done, 1)
    return figures, crcs


def main(work, path, update=None):
    work, path = pathlib.Path(work), pathlib.Path(path)
    made_with = {"rustc": output("rustc", "--version"), "valgrind": output("valgrind", "--version")}
    figures, crcs = measure(work)
    if not figures or min(figures.values()) <= 0:
        sys.exit("error: nothing was counted")
    if update == "--update":
        path.write_text(json.dumps({"made_with": made_with, "per_command": figures}, indent=2) + "\n")
        print(f"wrote {path}")
        return
    baseline = json.loads(path.read_text())
    comparable = baseline["made_with"] == made_with
    worse, better = [], []
    print(f"{'instructions per command':<38}{'now':>10}{'baseline':>10}{'change':>9}{'CRC':>8}")
    for row in sorted(figures.keys() | baseline["per_command"].keys()):
        now, before = figures.get(row), baseline["per_command"].get(row)
        if now is None or before is None:
            (worse if now is None else better).append(row)
            print(f"{row:<38}{now or 'gone':>10}{before or 'new':>10}")
            continue
        change = 100 * (now - before) / before
        worse += [row] * (change > TOLERANCE)
        better += [row] * (change < -TOLERANCE)
        print(f"{row:<38}{now:>10.1f}{before:>10.1f}{change:>+8.1f}%{crcs[row] or '':>8}")
    if not comparable:
        was = ", ".join(baseline["made_with"].values())
        print(f"skipped  the baseline was made with {was}, this is {', '.join(made_with.values())}: not comparable;")
        print("         `ci/instructions --update` on the last commit, then on this one, shows what changed")
        return
    if better:
        print(f"better than the baseline: {', '.join(better)}; `ci/instructions --update` keeps it so")
    if worse:
        print(f"more than {TOLERANCE} % above the baseline: {', '.join(worse)}")
        sys.exit("if that is the price of something, `ci/instructions --update` and say of what in the commit")


main(*sys.argv[1:])
