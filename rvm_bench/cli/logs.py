"""Log output of the command line: plain lines, above any progress bar.

The library logs with `logging.getLogger(__name__)` and never prints, so that its importer configures the output.
"""

import logging
import os
import sys

PACKAGES = ("rvm_bench", "propagation", "readouts", "baselines")


class _Lines(logging.Handler):
    """INFO to stdout, WARNING and above to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        # sys.stdout and sys.stderr are looked up on each call: tests and notebooks replace them.
        tqdm.write(self.format(record), file=sys.stderr if record.levelno >= logging.WARNING else sys.stdout)


def show_logs() -> None:
    """Shows the log of our packages; loggers of other packages are left alone."""
    for name in PACKAGES:
        logger = logging.getLogger(name)
        if not any(isinstance(handler, _Lines) for handler in logger.handlers):
            logger.addHandler(_Lines())
        # Under torchrun, INFO from rank 0 only, warnings from all ranks.
        logger.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)
