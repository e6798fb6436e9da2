"""Why `if __name__ == "__main__"`: a spawned child imports the program again."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from subprocess import PIPE

from lessons.stage import adopt_orphans, close, detail, play, program, say

WITHOUT = """\
import multiprocessing, os

print(f"process {os.getpid()} runs this file as {__name__}", flush=True)

def pay(order):
    print(f"process {os.getpid()} paid {order}", flush=True)

multiprocessing.set_start_method("METHOD", force=True)
child = multiprocessing.Process(target=pay, args=("A-1 of ada",))
child.start()
child.join()
print(f"process {os.getpid()}: the child's exit code is {child.exitcode}", flush=True)
"""
HEAD, START = WITHOUT.split("multiprocessing.set_start_method", 1)
WITH = (
    HEAD
    + 'if __name__ == "__main__":\n'
    + "".join(f"    {line}\n" for line in ("multiprocessing.set_start_method" + START).splitlines())
)


def run(text: str, method: str) -> None:
    """Run a program of its own, so that its failure stays there, and show what it says."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "shop.py"
        file.write_text(text.replace("METHOD", method))
        with program(sys.executable, file, stdout=PIPE, stderr=PIPE) as running:
            out, err = running.communicate()
    for line in out.splitlines():
        detail(line)
    # Of a long traceback, the line that names the error, and the advice it gives.
    wanted = ("RuntimeError", "An attempt has been made", "current process has", "if __name__")
    for line in err.splitlines():
        if line.strip().startswith(wanted):
            detail(f"! {line.strip()}")


def main() -> None:
    """Run the same little shop with and without the guard."""
    adopt_orphans()  # a helper process of shop.py's multiprocessing outlives it for a moment
    say("shop.py without the guard, with spawn:")
    run(WITHOUT, "spawn")
    say("the same without the guard, with fork:")
    run(WITHOUT, "fork")
    say('with the guard, if __name__ == "__main__":, and spawn:')
    run(WITH, "spawn")
    close(
        "Under spawn the file ran a second time, in the child, where its name is __mp_main__; "
        "there it tried to start a child of its own, and Python stopped it. With fork it ran once.",
        "A spawned child has to import the program to find the function to call. What is not "
        "behind the guard then runs again: the start of the child, too.",
        "services/__main__.py has the guard and imports next to nothing, since every worker that "
        "services/pipeline/supervisor.py spawns imports it again.",
    )


if __name__ == "__main__":
    play(main)
