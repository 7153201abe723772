"""`rvm-bench weights fetch` and `rvm-bench weights info`."""

from typing import Annotated

import typer

from rvm_bench.api.card import EncoderCard, Model
from rvm_bench.api.registry import find_model
from rvm_bench.errors import UserError

app = typer.Typer(help="Released checkpoints.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="MODEL", help="A name that `ls models` lists.")]


@app.command("fetch")
def fetch(name: Name) -> None:
    """Download a model's checkpoint into the cache; resumes, and verifies size and hash."""
    from rvm_bench.fetch import weights

    card = _card(name)
    released = weights.released_file(card)
    place = "comes with rvm-bench" if released.packaged else released.url or "no plain URL"
    typer.echo(f"{name}: {place}\nlicence: {released.licence}")
    typer.echo(f"{'in this installation' if released.packaged else 'in the cache'}: {weights.fetch(card)}")


@app.command("info")
def info(name: Name) -> None:
    """Print source, licence, size and hash of a model's checkpoint, and where it is."""
    from rvm_bench.fetch import weights

    card = _card(name)
    facts = {**weights.info(card), "paper": _paper_row(card), "note": card.note}
    facts = {key: value for key, value in facts.items() if value}
    width = max(map(len, facts))
    for key, value in facts.items():
        typer.echo(f"{key:{width}}  {value}")


def _card(name: str) -> EncoderCard:
    model = find_model(name)
    if not isinstance(model, Model):
        raise UserError(f"{name} is a plug-in that brings its own weights; there is nothing to fetch")
    return model.card


def _paper_row(card: EncoderCard) -> str:
    """The model's row in the paper's tables, or nothing."""
    from rvm_bench.tables.published import published_row

    row = published_row(card.published)
    if not row:
        return ""
    scores = ", ".join(f"{k} {v}" for k, v in row.items() if v and k not in ("model", "table", "params_m"))
    return f"{row['table']}, row {card.published!r}: {scores}"
