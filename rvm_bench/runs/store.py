"""Runs on disk: a folder per fingerprint that survives being killed at any point.

    <out>/<task>/<model>-<first 12 digits of the fingerprint>/
        run.json            all that the fingerprint covers
        records.jsonl       one line per video, appended and fsynced
        records-1of2.jsonl  the same for one shard, until every video is recorded
        damaged.jsonl       videos that could not be read and were left out, as one asked for; tried again in every call
        timings.jsonl       when, where, how long and with how much memory each video was measured
        result.json         score, interval and stamp; written once every video is recorded
        fit/                of a task that fits a head: what its fit keeps

Lines are never rewritten while a run goes on: a resumed run appends the videos that are not recorded yet. When all
are, the lines of all shards are put into the order of the data set, byte for byte as they were written.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash

from rvm_bench.errors import UserError
from rvm_bench.formats.files import (
    Appender,
    cut_torn_line,
    json_lines,
    locked,
    read_json,
    whole_lines,
    write_atomically,
    write_json,
)
from rvm_bench.formats.hashes import file_sha256
from rvm_bench.runs.fingerprint import fingerprint

Shard = tuple[int, int]
"""(i, n): the i-th of n parts, counted from 1; it holds every n-th video from the i-th on."""


FIT = "fit"
"""Folder of a run that belongs to the task's fit."""


class RunFolder:
    """The folder of one run.

    Args:
        out: folder that holds all runs.
        description: what `fingerprint.describe_run` says; it names the folder.
        create: whether to make the folder where it does not exist.

    Raises:
        UserError: a folder of that name was made under another fingerprint.
    """

    def __init__(self, out: Path, description: dict[str, Any], *, create: bool = True) -> None:
        self.description = description
        self.fingerprint = fingerprint(description)
        model, task = description["encoder"]["card"]["name"], description["task"]["name"]
        self.path = out / task / f"{model.replace('/', '_')}-{self.fingerprint[:12]}"
        run_file = self.path / "run.json"
        if run_file.exists():
            found = read_json(run_file).get("fingerprint")
            if found != self.fingerprint:
                raise UserError(
                    f"{self.path} was made under another fingerprint ({str(found)[:12]}); use another --out"
                )
        elif create:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(run_file, {"fingerprint": self.fingerprint, **description})

    def lines(self) -> dict[str, str]:
        """Every recorded line of this run by video, over all shards; see `recorded_lines`."""
        return recorded_lines(self.path)

    def records(self, videos: Sequence[str]) -> list[dict[str, Any]]:
        """The records of these videos, in this order."""
        lines = self.lines()
        return [json.loads(lines[video]) for video in videos]

    @contextmanager
    def appender(self, shard: Shard) -> Iterator["Appender"]:
        """Appends records, alone: a second process on the same run (or the same shard of it) is an error."""
        name = "records.jsonl" if shard == (1, 1) else f"records-{shard[0]}of{shard[1]}.jsonl"
        busy = f"{self.path / name} is being written by another process; wait for it, or use --shard"
        with locked(self.path / f".{name}.lock", busy), (self.path / name).open("ab+") as file:
            cut_torn_line(file)
            yield Appender(file)

    def add_damaged(self, video: str, why: str) -> None:
        """Notes a video that cannot be read."""
        if self.damaged().get(video) != why:
            self._append("damaged.jsonl", {"video": video, "why": why})

    def damaged(self) -> dict[str, str]:
        """Videos that could not be read, and why; some may have been recorded since."""
        found = json_lines(self.path / "damaged.jsonl", "video", "why")
        return {note["video"]: note["why"] for note in found}

    def merge(self, videos: Sequence[str]) -> None:
        """Puts every line into records.jsonl in the order of the data set, and drops the shards' files.

        Nothing is written where that is how they lie already: a finished run is only read.
        """
        with locked(self.path / ".merge.lock", "", wait=True):
            lines, file = self.lines(), self.path / "records.jsonl"
            content = "".join(lines[video] + "\n" for video in videos)
            if not file.exists() or file.read_text(encoding="utf-8") != content:
                write_atomically(file, content)
            for shard in self.path.glob("records-*of*.jsonl"):
                shard.unlink(missing_ok=True)

    def add_timing(self, timing: dict[str, Any]) -> None:
        """Appends a line beside the records: what may differ from run to run stays out of them."""
        self._append("timings.jsonl", timing)

    def timings(self) -> list[dict[str, Any]]:
        return timings_in(self.path)

    def _append(self, name: str, line: dict[str, Any]) -> None:
        """Appends to a file that all shards share."""
        with locked(self.path / f".{name}.lock", "", wait=True), (self.path / name).open("ab+") as file:
            cut_torn_line(file)
            Appender(file).append(line)

    @property
    def fit_folder(self) -> Path:
        """Where a task that fits a head keeps its fit."""
        return self.path / FIT

    def keep_result(self) -> Path:
        """Moves result.json aside, and returns its new name."""
        kept = self.path / f"result-{file_sha256(self.result_file)[:8]}.json"
        self.result_file.replace(kept)
        return kept

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"


def gather(runs: Sequence[Path], out: Path) -> tuple[Path, int]:
    """Copies the records of run folders of one fingerprint into one folder below `out`.

    Returns:
        (the folder, how many videos it now records).

    Raises:
        UserError: a folder is not a run, or they are not of one fingerprint.
    """
    for run in runs:
        if not (run / "run.json").is_file():
            raise UserError(f"{run} is not a run folder (no run.json); expected <out>/<task>/<model>-<fingerprint>")
    descriptions = [read_json(run / "run.json") for run in runs]
    prints = {description.pop("fingerprint") for description in descriptions}
    if len(prints) > 1:
        raise UserError(
            f"these runs have {len(prints)} fingerprints: they measured different things, and are not merged"
        )
    target = RunFolder(out, descriptions[0])
    _gather_fit(runs, target)
    for run in runs:
        if run.resolve() == target.path.resolve():
            continue
        with target.appender((1, 1)) as records:
            have, found = target.lines(), recorded_lines(run)
            for video in found:
                if have.get(video, found[video]) != found[video]:
                    raise UserError(f"{run} and {target.path} record {video!r} differently; they are not merged")
            new = found.keys() - have.keys()
            for video in found:
                if video in new:
                    records.append_line(found[video])
        for timing in timings_in(run):
            if timing["video"] in new:
                target.add_timing(timing)
    return target.path, len(target.lines())


def _gather_fit(runs: Sequence[Path], target: RunFolder) -> None:
    """Copies the fitted head of the runs, where they have one.

    Raises:
        UserError: the runs were scored with different heads.
    """
    heads = {run: head for run in (*runs, target.path) if (head := head_of(run)) is not None}
    if len(set(heads.values())) > 1:
        raise UserError(
            f"{' and '.join(str(run) for run in heads)} were scored with different heads; fit once, copy that run's "
            f"{FIT} folder to the other machines, and shard the scoring alone"
        )
    if heads and target.path not in heads:
        shutil.copytree(next(iter(heads)) / FIT, target.fit_folder, dirs_exist_ok=True)


def head_of(run: Path) -> str | None:
    """Hash of the head that a run was scored with; None where it fitted none."""
    heads = {note["head"] for note in timings_in(run) if note.get("head")}
    if len(heads) > 1:
        raise UserError(f"{run} was scored with {len(heads)} different heads; delete the folder and run again")
    return next(iter(heads), None)


def recorded_lines(run: Path) -> dict[str, str]:
    """Every recorded line of a run folder by video, over all shards. A line that a kill cut short is not there.

    Raises:
        UserError: a line is no record, has another checksum than when it was written, or contradicts another file.
    """
    lines: dict[str, str] = {}
    checksums = {note["video"]: note["xxh3_64"] for note in timings_in(run) if "xxh3_64" in note}
    for file in sorted(run.glob("records*.jsonl")):
        for number, line in enumerate(whole_lines(file), 1):
            video = video_of(line, file, number)
            if lines.setdefault(video, line) != line:
                raise UserError(f"{file}:{number} records {video!r} differently from another file; delete one of them")
            if checksums.get(video, found := checksum(line)) != found:
                raise UserError(
                    f"{file}:{number} is not the record of {video!r} that was written (another checksum); delete the "
                    "line, and the video is evaluated again"
                )
    return lines


def checksum(line: str) -> str:
    """XXH3 (64 bits) of a recorded line, as timings.jsonl keeps it."""
    return xxhash.xxh3_64_hexdigest(line.encode())


def timings_in(run: Path) -> list[dict[str, Any]]:
    """What timings.jsonl says of each video; the last line stands where a video was evaluated again."""
    return json_lines(run / "timings.jsonl", "video")


def shard_of(videos: Sequence[Any], shard: Shard) -> list[Any]:
    """Every n-th video from the i-th on."""
    index, count = shard
    return list(videos[index - 1 :: count])


def video_of(line: str, file: Path, number: int) -> str:
    """The video that a line records, or UserError where the line is damaged."""
    try:
        return json.loads(line)["video"]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise UserError(f"{file}:{number} is not a record; delete the line, and the video is evaluated again") from None
