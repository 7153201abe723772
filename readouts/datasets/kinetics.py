"""Strict reader of Kinetics-700-2020: lists and videos.

    <root>/train.csv, val.csv                                 label,youtube_id,time_start,time_end,split
    <root>/train/<youtube id>_<start:06d>_<end:06d>.mp4       and val/, flat or with a folder for each class

The lists may also be in `annotations/`, and the validation split may be called `validate`, DeepMind's name for it.
Names of class folders may have spaces or underscores.

No copy is complete, as videos vanish from YouTube: the lists have 542,352 and 34,125 videos, of which the copy that
CVDF hosts has 534,073 and 33,914 (docs.voxel51.com, Kinetics 700-2020). Kinetics-700 of 2019 has the same 700 classes
but other videos; scores on it are not comparable, and only the number of listed videos distinguishes the two.
"""

import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path

from readouts.datasets.video_lists import ClipCopy, FoundFile, Official, first_existing, split_of, walk
from rvm_bench.errors import UserError, unknown_name

COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
SPLITS = {"train": ("train",), "val": ("val", "validate", "validation")}
"""Aliases of each split: of its list, of its folder, and in the column of the list."""
OFFICIAL = Official(
    title="Kinetics-700-2020",
    classes=700,
    training=542_352,
    evaluation=34_125,
    beware="; Kinetics-700 of 2019 has the same classes and other videos",
)
"""Smaira et al., arXiv:2010.10864; the counts as in docs.voxel51.com, Kinetics 700-2020."""


def open_kinetics(root: Path) -> ClipCopy:
    """The copy under `root`: its classes, which are the sorted labels of the training list, and its videos.

    Each split's folder is read once. A file is matched to a listed video by its name, in whichever folder it is; of
    several files with that name, the one in the folder of its label is used.

    Raises:
        UserError: a list or a folder of videos is missing, a row is invalid, or several files match a video. A missing
            video is no error: it is listed in the copy.
    """
    splits, listings = {}, {}
    labels: dict[str, int] = {}
    for split, aliases in SPLITS.items():
        names = [f"{folder}{alias}.csv" for folder in ("", "annotations/") for alias in aliases]
        listing = listings[split] = first_existing(root, names, "a list")
        rows = list(_read_rows(listing, aliases))
        if split == "train":
            labels = {label: index for index, label in enumerate(sorted({label for _, label, _ in rows}))}
        for line, label, _ in rows:
            if label not in labels:
                raise UserError(
                    f"{listing}, line {line}: {unknown_name('label', label, labels)}; {listings['train']} has none such"
                )
        folder = first_existing(root, aliases, "a folder of videos")
        files = _by_stem(folder)
        splits[split] = split_of(
            split,
            (
                (stem, labels[label], _choose(files.get(stem, []), label), folder / f"{stem}.mp4")
                for _, label, stem in rows
            ),
        )
    return ClipCopy(
        root=root,
        classes=tuple(labels),
        training=splits["train"],
        evaluation=splits["val"],
        annotations=tuple(listings.values()),
        official=OFFICIAL,
    )


def _read_rows(file: Path, aliases: tuple[str, ...]) -> Iterator[tuple[int, str, str]]:
    """(line number, label, stem of the video's file) of every row."""
    first_line: dict[str, int] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text, strict=True)
            if missing := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
                raise UserError(f"{file} has no column {' and no '.join(missing)}; expected {','.join(COLUMNS)}")
            for row in reader:
                where = f"{file}, line {reader.line_num}"
                if None in row or None in row.values():
                    raise UserError(f"{where} does not have as many values as the first line has columns")
                label, stem = _read_row(row, where, aliases)
                if stem in first_line:
                    raise UserError(f"{where} lists {stem} again, after line {first_line[stem]}")
                first_line[stem] = reader.line_num
                yield reader.line_num, label, stem
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} cannot be read as comma-separated text ({error}); get the file again") from error
    if not first_line:
        raise UserError(f"{file} lists no video")


def _read_row(row: dict[str, str], where: str, aliases: tuple[str, ...]) -> tuple[str, str]:
    label, youtube_id, split = (row[column].strip() for column in ("label", "youtube_id", "split"))
    if not label:
        raise UserError(f"{where} has no label; the test split has none and cannot be used")
    if not re.fullmatch(r"[A-Za-z0-9_-]{11}", youtube_id):
        raise UserError(
            f"{where} has the youtube_id {youtube_id!r}, expected 11 letters, digits, hyphens or underscores; "
            "spreadsheets change ids that begin with a hyphen: get the file again"
        )
    if split not in aliases:
        raise UserError(f"{where} has the split {split!r}, expected {' or '.join(aliases)}")
    start, end = (_seconds(row[column], column, where) for column in ("time_start", "time_end"))
    if end <= start:
        raise UserError(f"{where} ends at {end} s and starts at {start} s; it must end later")
    return label, f"{youtube_id}_{start:06d}_{end:06d}"


def _seconds(value: str, column: str, where: str) -> int:
    """Whole seconds, as in the file names: 12, 12.0 and 12.5 are 12."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < 1e6:
        raise UserError(f"{where} has the {column} {value!r}, expected seconds from the start of the video")
    return int(seconds)


def _by_stem(folder: Path) -> dict[str, list[FoundFile]]:
    files: dict[str, list[FoundFile]] = {}
    for found in walk(folder, ".mp4"):
        files.setdefault(Path(found.path).stem, []).append(found)
    return files


def _choose(candidates: list[FoundFile], label: str) -> FoundFile | None:
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    of_label = [found for found in candidates if found.folder.replace("_", " ") == label.replace("_", " ")]
    if len(of_label) == 1:
        return of_label[0]
    first, second = sorted(found.path for found in candidates)[:2]
    raise UserError(
        f"{first} and {second} have the same name and neither is in the folder of {label!r}; keep one of them"
    )
