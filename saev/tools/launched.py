"""Snakemake as `saev run` starts it: Ctrl-C ends it with one line from the start.

    python -m saev.tools.launched ARGUMENTS OF SNAKEMAKE

Snakemake's imports take seconds, and until it reads the workflow it answers with a traceback.
"""

import signal
import sys

from saev.core import interrupts

if __name__ == "__main__":
    interrupts.answer()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked by `launch`
    from snakemake.cli import main

    sys.argv[0] = "snakemake"
    main()
