"""Instruction counts: from the output of the benches to a table, and against what was recorded.

    instructions.py OUTPUT RECORD.json TOLERANCE [--record]
"""

import json
import re
import sys

# How often a bench does what it counts: constants of dataplane/benches/instructions.rs.
TIMES = 1000
NAME = re.compile(r"^instructions::(\w+)::(\w+) (\w+):")
COUNT = re.compile(r"^\s*Instructions:\s+(\d+)\|")


def read(path):
    """Instructions for one time, by name of the bench."""
    counts, name = {}, None
    with open(path, errors="replace") as file:
        for line in re.sub(r"\x1b\[[0-9;]*m", "", file.read()).splitlines():
            if found := NAME.match(line):
                name = f"{found[2]} {found[3]}"
            elif (found := COUNT.match(line)) and name:
                counts[name] = round(int(found[1]) / TIMES, 1)
                name = None
    return counts


def table(counts):
    lines = ["| | instructions |", "|---|---:|"]
    lines += [f"| {name} | {count:,.1f} |".replace(",", " ") for name, count in counts.items()]
    return "\n".join(lines) + "\n"


HEAD = """# Instructions

What `scripts/instructions.sh --record` counted: for one request, segment, turn or call, inside
`Worker::turn`, frames and ports of the bench included. Connections are open and idle but for a hundred
exchanges at a time. Valgrind counts a long copy (`rep movsb`) as one instruction for each byte, so these
rows say more of copies than a clock would.

"""


def main():
    output, record, tolerance, *rest = sys.argv[1:]
    counts = read(output)
    if not counts:
        sys.exit("error: no counts in the output of the benches")
    if "--record" in rest:
        with open(record, "w") as file:
            json.dump(counts, file, indent=1)
            file.write("\n")
        with open(record.replace(".json", ".md"), "w") as file:
            file.write(HEAD + table(counts))
        print(table(counts), end="")
        return
    with open(record) as file:
        before = json.load(file)
    worse = []
    for name in before | counts:
        old, new = before.get(name), counts.get(name)
        if old is None or new is None:
            worse.append(name)
            print(f"{name:32} {'new' if old is None else 'gone'}: record anew")
            continue
        change = 100 * (new - old) / old
        mark = ""
        if change > float(tolerance):
            worse.append(name)
            mark = "  more"
        elif change < -float(tolerance):
            mark = "  less: record it"
        print(f"{name:32} {old:12.1f} {new:12.1f} {change:+7.2f} %{mark}")
    if worse:
        sys.exit(f"error: {len(worse)} of {len(counts)} differ by more than {tolerance} %: " + ", ".join(worse))


if __name__ == "__main__":
    main()
