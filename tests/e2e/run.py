"""Runs the cases whose name contains one of the words given, or all. Called by scripts/e2e.sh.

Cases marked `impaired` run when E2E_IMPAIRED is set, the others when it is not. Appends
`passed failed skipped` to the file E2E_TALLY.
"""

import importlib
import os
import pkgutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import cases  # noqa: E402
import harness  # noqa: E402
from lab import Lab  # noqa: E402


def main(words):
    order = ["basics", "bodies", "forwarding", "routing", "bad_requests", "trouble", "flow", "upgrade"]
    names = [module.name for module in pkgutil.iter_modules(cases.__path__)]
    for name in sorted(names, key=lambda n: order.index(n) if n in order else len(order)):
        importlib.import_module(f"cases.{name}")
    chosen = [
        entry
        for entry in harness.CASES
        if entry.impaired == bool(os.environ.get("E2E_IMPAIRED"))
        and (not words or any(word in entry.name for word in words))
    ]
    counts = (0, 0, 0)
    if chosen:
        lab = Lab()
        try:
            counts = harness.run(chosen, lab)
        finally:
            lab.close()
    with open(os.environ["E2E_TALLY"], "a") as tally:
        print(*counts, file=tally)
    return 1 if counts[1] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
