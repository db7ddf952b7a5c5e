"""Runs the command as a child that cannot outlive whoever started it.

`python -m shuqiao.demo.child PARENT gateway serve …`. On Linux the kernel kills it when the thread that
started it ends, by whatever means. Elsewhere a thread of its own waits for the end of standard input, which
the parent holds open and never writes to.
"""

import ctypes
import os
import signal
import sys
import threading

PR_SET_PDEATHSIG = 1


def live_no_longer_than(parent: int) -> None:
    """Have this process killed when its parent ends.

    Args:
        parent: process id of whoever started it; a parent that is gone by now ends it at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_end_with_input, name="parent", daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _end_with_input() -> None:
    while os.read(0, 1):
        continue
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run `shuqiao` with the arguments that follow the parent's process id."""
    live_no_longer_than(int(sys.argv[1]))
    del sys.argv[1]
    from shuqiao.cli import main as run

    run()


if __name__ == "__main__":
    main()
