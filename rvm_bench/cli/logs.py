"""What the library logs, shown to the user of the command line: plain lines, above any progress bar.

The library itself logs with `logging.getLogger(__name__)` and never prints, so that whoever imports it decides.
"""

import logging
import os
import sys

PACKAGES = ("rvm_bench", "propagation", "readouts", "baselines")


class _Lines(logging.Handler):
    """Information to the standard output, warnings to the standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        # The streams of this moment: tests and notebooks replace them.
        tqdm.write(self.format(record), file=sys.stderr if record.levelno >= logging.WARNING else sys.stdout)


def show_logs() -> None:
    """Lets the lines of our packages through; those of others stay where the user put them."""
    for name in PACKAGES:
        logger = logging.getLogger(name)
        if not any(isinstance(handler, _Lines) for handler in logger.handlers):
            logger.addHandler(_Lines())
        # Under torchrun, rank 0 alone informs; every process may warn.
        logger.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)
