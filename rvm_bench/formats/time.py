"""Time as it is written into files."""

import datetime


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
