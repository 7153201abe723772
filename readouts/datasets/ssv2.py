"""Strict reader of Something-Something v2: annotations and videos.

    <root>/20bn-something-something-v2/<id>.webm           VP9
    <root>/something-something-v2-train.json               [{"id", "label", "template", "placeholders"}, ...]
    <root>/something-something-v2-validation.json          the same
    <root>/something-something-v2-labels.json              {template without brackets: "0" ... "173"}

The JSON files may also be in `labels/`, and may have their older names without the prefix. The class of a video is
its template without "[" and "]", looked up in the labels (facebookresearch/SlowFast, slowfast/datasets/ssv2.py).
"""

from pathlib import Path

from readouts.datasets.json_strict import read_annotations
from readouts.datasets.video_lists import ClipCopy, ClipSplit, FoundFile, Official, first_existing, split_of, walk
from rvm_bench.errors import UserError, unknown_name

VIDEOS = "20bn-something-something-v2"
PREFIX = "something-something-v2-"
OFFICIAL = Official(title="Something-Something v2", classes=174, training=168_913, evaluation=24_777)
"""Goyal et al., ICCV 2017, and the data set's page; the counts as listed in OpenGVLab/VideoMAEv2, docs/DATASET.md."""


def open_ssv2(root: Path) -> ClipCopy:
    """The copy under `root`: its classes in the order of their indices, its training and its validation videos.

    A copy may have other classes than the 174 official ones (the demo copy does); `ClipCopy.problems` says so.

    Raises:
        UserError: an annotation file or the folder of videos is missing, or an annotation is invalid. A missing video
            is no error: it is listed in the copy.
    """
    labels_file = _annotation(root, "labels")
    labels = _read_labels(labels_file)
    folder = root / VIDEOS
    if not folder.is_dir():
        raise UserError(f"{folder} is missing; expected a folder of <id>.webm videos: is --data right?")
    files = {Path(found.path).stem: found for found in walk(folder, ".webm")}
    seen: dict[str, str] = {}
    splits, listings = {}, {}
    for split in ("train", "validation"):
        listings[split] = _annotation(root, split)
        splits[split] = _read_split(split, listings[split], labels, labels_file, folder, files, seen)
    return ClipCopy(
        root=root,
        classes=tuple(sorted(labels, key=labels.__getitem__)),
        training=splits["train"],
        evaluation=splits["validation"],
        annotations=(labels_file, *listings.values()),
        official=OFFICIAL,
    )


def _annotation(root: Path, name: str) -> Path:
    names = [f"{PREFIX}{name}.json", f"labels/{PREFIX}{name}.json", f"{name}.json", f"labels/{name}.json"]
    return first_existing(root, names, "an annotation file")


def _read_labels(file: Path) -> dict[str, int]:
    """Class name -> index."""
    content = read_annotations(file)
    if not isinstance(content, dict) or not content:
        raise UserError(f'{file} holds no object of classes; expected {{"Approaching something ...": "0", ...}}')
    labels: dict[str, int] = {}
    for name, value in content.items():
        if isinstance(value, bool) or not str(value).isdecimal():
            raise UserError(f'{file}: class {name!r} has the index {value!r}, expected a whole number such as "0"')
        labels[name] = int(value)
    if sorted(labels.values()) != list(range(len(labels))):
        indices = sorted(labels.values())
        wrong = next(i for i, index in enumerate(indices) if index != i)
        what = f"{indices[wrong]} is there twice" if indices[wrong] < wrong else f"{wrong} is missing"
        raise UserError(
            f"{file}: the indices of its {len(labels)} classes must be 0 to {len(labels) - 1}, each once; {what}"
        )
    return labels


def _read_split(
    split: str,
    file: Path,
    labels: dict[str, int],
    labels_file: Path,
    folder: Path,
    files: dict[str, FoundFile],
    seen: dict[str, str],
) -> ClipSplit:
    """The videos that `file` lists.

    Args:
        seen: id -> split that lists it, of the splits read before; this one is added.
    """
    content = read_annotations(file)
    if not isinstance(content, list) or not content:
        raise UserError(f'{file} lists no video; expected [{{"id": "1", "template": "..."}}, ...]')
    listed = []
    for number, entry in enumerate(content, 1):
        where = f"{file}: entry {number} of {len(content)}"
        if not isinstance(entry, dict):
            raise UserError(f"{where} is {entry!r:.60}, expected an object with an id and a template")
        for key in ("id", "template"):
            if not isinstance(entry.get(key), str) or not entry[key]:
                what = f"has {entry[key]!r:.60} as its" if key in entry else "has no"
                raise UserError(f"{where} (id {entry.get('id')!r:.30}) {what} {key}; expected a string")
        name = entry["id"]
        if name in seen:
            raise UserError(f"{where} has the id {name}, which the {seen[name]} split listed before; ids are unique")
        seen[name] = split
        template = entry["template"].replace("[", "").replace("]", "")
        if template not in labels:
            unknown = unknown_name("template", template, labels)
            raise UserError(f"{where} (id {name}): {unknown} {labels_file} lists the classes")
        listed.append((name, labels[template], files.get(name), folder / f"{name}.webm"))
    return split_of(split, listed)
