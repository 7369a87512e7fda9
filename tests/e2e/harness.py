"""Cases: functions marked with `@case`, run one after another, one line of output each."""

import signal
import time
import traceback

CASES = []


class Case:
    def __init__(self, function, title, config, only, mover, seconds, impaired):
        self.function, self.title, self.config = function, title, config
        self.only, self.mover, self.seconds, self.impaired = only, mover, seconds, impaired
        self.topic = function.__module__.rpartition(".")[2]

    @property
    def name(self):
        return f"{self.topic}: {self.title}"


def case(title, config="e2e", only=None, mover=None, seconds=30, impaired=False):
    """Registers a case that is given the lab. It fails by raising, or by taking longer than
    `seconds`. `only` names the one proxy it applies to: what minivoy promises and nginx does not;
    `mover` the movers it applies to."""

    def register(function):
        CASES.append(Case(function, title, config, only, mover, seconds, impaired))
        return function

    return register


def on_alarm(_signal, _frame):
    raise TimeoutError("the case took too long")


def run(cases, lab):
    """Runs the cases. Returns how many passed, failed and were skipped."""
    passed = failed = skipped = 0
    signal.signal(signal.SIGALRM, on_alarm)
    for entry in cases:
        if entry.only and entry.only != lab.kind:
            skipped += 1
            print(f"skip    {entry.name} ({entry.only} only)", flush=True)
            continue
        if entry.mover and lab.mover not in entry.mover:
            skipped += 1
            print(f"skip    {entry.name} (MOVER={' or '.join(entry.mover)})", flush=True)
            continue
        start = time.monotonic()
        problem = None
        signal.setitimer(signal.ITIMER_REAL, entry.seconds + 25)
        try:
            lab.use(entry.config)
            signal.setitimer(signal.ITIMER_REAL, entry.seconds)
            entry.function(lab)
            if entry.config and not (lab.proxy and lab.proxy.alive):
                raise AssertionError("the proxy has ended")
        except Exception as error:  # A case may fail in any way; the suite goes on.
            line = traceback.extract_tb(error.__traceback__)
            here = next((f for f in reversed(line) if "/cases/" in f.filename), line[-1])
            place = f"{here.filename.rpartition('/')[2]}:{here.lineno}"
            problem = f"{place}: {type(error).__name__}: {error}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        took = time.monotonic() - start
        if problem is None:
            passed += 1
            print(f"ok      {entry.name} ({took:.1f} s)", flush=True)
        else:
            failed += 1
            print(f"FAILED  {entry.name} ({took:.1f} s): {problem}", flush=True)
            if lab.proxy and not lab.proxy.alive:
                end = "\n".join(lab.proxy.output().splitlines()[-15:])
                print(f"        proxy's exit status {lab.proxy.child.returncode}:\n{end}", flush=True)
    return passed, failed, skipped
