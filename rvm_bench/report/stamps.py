"""What each number was made with, as lines of a page: nothing but what its run wrote down."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rvm_bench.runs.fingerprint import numerics_of
from rvm_bench.runs.finished import FLAGS, FinishedRun


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """The stamp of one number.

    Attributes:
        id: of its place on the page.
        model, task: whose it is.
        number: as it is printed, with unit, interval and counts.
        flags: what sets it apart, each with its meaning.
        facts: (name, value) of everything else.
        command: measures it again, as far as the stamp tells.
    """

    id: str
    model: str
    task: str
    number: str
    flags: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    command: str


def stamp_of(run: FinishedRun, name: str) -> Stamp:
    """The stamp of a run whose network is called `name`."""
    return Stamp(
        id=stamp_id(run),
        model=name,
        task=run.task,
        number=f"{number(run)}, {run.result['videos']} videos",
        flags=tuple((flag, FLAGS[flag]) for flag in run.flags),
        facts=tuple(_facts(run)),
        command=command(run),
    )


def stamp_id(run: FinishedRun) -> str:
    return f"stamp-{run.stamp['fingerprint'][:16]}"


def number(run: FinishedRun) -> str:
    """The headline number as it is printed, with its unit and interval."""
    metric = run.result["metric"]
    digits = metric.get("digits", 1)
    interval = run.printed_interval
    between = "" if interval is None else f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
    return f"{metric['key']} {run.printed:.{digits}f}{between} {metric.get('unit', '')}".rstrip()


def command(run: FinishedRun) -> str:
    """The `rvm-bench run` that the stamp describes, where its model and data are still where they were."""
    requested = run.stamp.get("requested", {})
    stated = run.stamp["encoder"]
    words = ["rvm-bench", "run", "--model", requested.get("model", run.model), "--task", run.task]
    words += ["--data", "demo" if "demo data" in run.flags else run.stamp["data_root"]]
    if weights := _weights(run):
        words += ["--weights", weights]
    if stated["dtype"] != "float32":
        words += ["--dtype", stated["dtype"]]
    for key, value in _options(run).items():
        words += ["--option", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    words += _constants(run)
    if run.left_out:
        words.append("--allow-missing")
    return shlex.join(words)


def _weights(run: FinishedRun) -> str | None:
    """What `--weights` was; of runs that did not note it, what the stamp tells."""
    if "weights" in run.stamp.get("requested", {}):
        return run.stamp["requested"]["weights"]
    source = run.stamp["weights_source"]
    return "random" if source.get("kind") == "random" else source.get("path")


def _options(run: FinishedRun) -> dict[str, Any]:
    if "options" in run.stamp.get("requested", {}):
        return run.stamp["requested"]["options"]
    seed = run.stamp["weights_source"].get("seed")
    return {"seed": seed} if seed else {}


def _constants(run: FinishedRun) -> list[str]:
    """`--protocol` and `--set` as given; of runs that did not note them, what differs from the official constants."""
    requested = run.stamp.get("requested", {})
    if "overrides" in requested:
        preset = ["--protocol", requested["protocol"]] if requested["protocol"] else []
        return [*preset, *(word for text in requested["overrides"] for word in ("--set", text))]
    changed = run.result["off_protocol"]
    # Demo data brings its own constants; those of a preset have an id of their own, which no --set can give.
    if "demo data" in run.flags or "id" in changed:
        return []
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, (_, value) in changed.items()}
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def _facts(run: FinishedRun) -> Iterator[tuple[str, str]]:
    stamp, result = run.stamp, run.result
    encoder, code, environment = stamp["encoder"], stamp["code"], stamp["environment"]
    yield "weights", _told(encoder["weights"])
    yield "weights came from", _told(stamp["weights_source"])
    yield "encoder", f"{encoder['class']}, {encoder['dtype']}, {_told({k: encoder.get(k) for k in ('tap', 'chunk')})}"
    if encoder["options"]:
        yield "options", _told(encoder["options"])
    yield "protocol", _told(run.protocol)
    if result["off_protocol"]:
        yield "off protocol", _told(result["off_protocol"])
    yield "data manifest sha256", stamp["data"]["manifest_sha256"]
    yield "data lay in", stamp["data_root"]
    yield "coverage", _coverage(result)
    yield "fingerprint", stamp["fingerprint"]
    yield "source code sha256", stamp["code_sha256"]
    changed = {True: ", with changes", False: "", None: ""}[code["dirty"]]
    yield "code", f"rvm-bench {code['version']}, commit {code['commit'] or 'unknown'}{changed}"
    computed = dict(numerics_of(stamp))
    yield "libraries", _told(computed.pop("libraries"))
    yield "machine", _told({**environment, **computed})
    yield (
        "interval",
        f"{result.get('interval_level', 0.95):.0%}, {result.get('interval_method', 'bootstrap over videos')}",
    )
    yield "wall time", f"{stamp['wall_s']:g} s"
    if stamp.get("peak_memory_mb"):
        yield "peak memory (MiB)", _told(stamp["peak_memory_mb"])
    yield "finished", stamp["finished"]


def _coverage(result: dict[str, Any]) -> str:
    coverage = result.get("coverage")
    if coverage is None:
        return f"{result['videos']} videos"
    covered = f"{coverage['in_official']} of {coverage['official']} official videos"
    missing = coverage["missing"]
    return f"{covered}; left out: {'; '.join(missing)}" if missing else covered


def _told(value: Any) -> str:
    """JSON values in one line, without their quotes and braces."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_told(part)}" for key, part in value.items() if part not in (None, "", {}, []))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
