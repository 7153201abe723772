"""MOVi-E, the training data of point tracking: clips by number, from any of the published copies.

    <root>/movi_e/256x256/1.0.0/movi_e-train.tfrecord-00000-of-01024 ...           gs://kubric-public/tfds, truth
    <root>/movi_e/256x256/1.0.0/movi_e-train.array_record-00000-of-00050 ...       gs://kubric-public/grain, truth
    <root>/full/movi/train.array_record-00000-of-00100 ...                         gs://scivid, tracks

The first two also have `dataset_info.json`, with the number of records of each shard, and `features.json`, which is not
read: the features are those of `records.py`. The root of a copy may be any folder on the path to its shards. Source:
tensorflow/datasets, `core/proto/dataset_info.proto`; google-deepmind/scivid, `README.md`.
"""

import dataclasses
import json
from pathlib import Path

from tqdm import tqdm

from readouts.datasets.movi.records import MoviClip, decode_clip, record_kind
from readouts.datasets.movi.shards import Shards, open_shards
from rvm_bench.errors import DamagedFile, UserError, unknown_name

FOLDERS = ".", "1.0.0", "256x256/1.0.0", "movi_e/256x256/1.0.0", "full/movi", "movi"
"""Folders that may hold the shards, relative to the root."""
INFO = "dataset_info.json"
SPLITS = "train", "validation", "test"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MoviCopy:
    """One split of a copy of MOVi-E. It holds no open file, so that it can be pickled for worker processes.

    Attributes:
        shards: the files, and their records in order.
        kind: of the records, "truth" or "tracks", determined from the first one.
        expected: number of records of each shard by `dataset_info.json`; None where there is no such file.
    """

    shards: Shards
    kind: str
    expected: tuple[int, ...] | None

    def __len__(self) -> int:
        return len(self.shards)

    @property
    def names(self) -> list[str]:
        """A name for every clip: split, number of the shard, position in it. A partial copy has the same names."""
        split = self.shards.split
        return [f"{split}-{shard.number:05d}-{i:04d}" for shard in self.shards.shards for i in range(shard.records)]

    def clip(self, i: int) -> MoviClip:
        """Clip `i`, decoded.

        Raises:
            IndexError: there is no such clip.
            DamagedFile: it is damaged; the message names the file and the record.
        """
        try:
            return decode_clip(self.shards[i], self.kind, where=self.shards.where(i))
        except UserError as error:
            raise DamagedFile(str(error)) from error

    def missing(self) -> list[str]:
        """One line for each shard that is missing, is empty, or does not have the expected number of clips.

        Without `dataset_info.json` a TFRecord that was cut between two records cannot be recognised.
        """
        lines = self.shards.missing()
        if self.expected is None:
            return [*lines, *(f"{shard.path} is empty" for shard in self.shards.shards if not shard.records)]
        if len(self.expected) != self.shards.count:
            info = self.shards.folder / INFO
            return [*lines, f"{info} lists {len(self.expected)} shards, the file names say {self.shards.count}"]
        for shard in self.shards.shards:
            if shard.records != self.expected[shard.number]:
                lines.append(f"{shard.path} has {shard.records} clips, {INFO} says {self.expected[shard.number]}")
        return lines

    def problems(self) -> list[str]:
        """All that is wrong with the copy, one line each, after decoding every record and verifying every checksum."""
        lines = self.missing()
        for i in tqdm(range(len(self)), desc=f"decoding {self.shards.split} clips", leave=False, disable=None):
            try:
                self.clip(i)
            except UserError as error:
                lines.append(str(error))
        return lines

    def manifest_sha256(self) -> str:
        """Hash over names, sizes and record lengths of the shards, not over their content."""
        return self.shards.manifest_sha256()


def open_movi(root: Path, split: str = "train", *, allow_missing: bool = False) -> MoviCopy:
    """The copy of a split under `root`; reads the record lengths of its files, and the first record.

    Args:
        root: see the docstring of this module.
        split: one of `SPLITS`; the copy with tracks has only the first.
        allow_missing: whether shards may be missing, or have fewer records than expected.

    Raises:
        UserError: no shards, or those of several data sets; a file with damaged record lengths; a first record that is
            not from MOVi-E; or something is missing and `allow_missing` is false.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    shards = open_shards(_folder(root, split), split)
    if not len(shards):
        raise UserError(f"{shards.folder} has {len(shards.shards)} shards of the {split} split and no clip in them")
    copy = MoviCopy(
        shards=shards,
        kind=record_kind(shards[0], where=shards.where(0)),
        expected=_expected_records(shards.folder / INFO, split),
    )
    missing = copy.missing()
    if missing and not allow_missing:
        more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
        raise UserError(f"{missing[0]}{more}; download the rest, or --allow-missing trains on what is there")
    return copy


def has_movi(root: Path, split: str = "train") -> bool:
    """Whether there are files named like shards of MOVi-E below a folder."""
    return _shards_below(root, split) is not None


def _shards_below(root: Path, split: str) -> Path | None:
    folders = (root / folder for folder in FOLDERS)
    return next((folder for folder in folders if any(folder.glob(f"*{split}.*-of-*"))), None)


def _folder(root: Path, split: str) -> Path:
    if (found := _shards_below(root, split)) is not None:
        return found
    if not root.is_dir():
        raise UserError(f"no such folder of MOVi-E: {root}")
    return root


def _expected_records(info: Path, split: str) -> tuple[int, ...] | None:
    """Number of records of every shard of a split, by shard number; None where there is no such file."""
    if not info.is_file():
        return None
    try:
        splits = json.loads(info.read_text(encoding="utf-8"))["splits"]
        lengths = next(entry["shardLengths"] for entry in splits if entry["name"] == split)
        return tuple(int(length) for length in lengths)
    except StopIteration:
        raise UserError(f"{info} has no {split} split; get the file again") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = " ".join(f"{type(error).__name__} {error}".split())[:120]
        raise UserError(f"{info} is not what TensorFlow Datasets writes ({why}); get the file again") from error
