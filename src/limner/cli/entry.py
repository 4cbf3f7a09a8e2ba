"""Where the console script begins: quiet about Ctrl-C from the first moment.

Python turns Ctrl-C into an exception, and one that comes while modules are being imported
ends in a long traceback. Until the command line is ready, the signal ends the process itself.
"""

from __future__ import annotations

import signal
import threading


def run() -> None:
    """Entry point of the console script."""
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from limner.cli import main

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main.run()
