"""`rvm-bench train` and `rvm-bench export`."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[str, typer.Option(help="Name of a recipe; ls lists them.")],
    out: Annotated[Path | None, typer.Option(help="Folder of this training, which every process sees.")] = None,
    backend: Annotated[str, typer.Option(help="torch or jax.")] = "torch",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Other number of updates; the warm-up is scaled. [default: the recipe's]")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="[NAME=]folder:DIR, list:FILE, shards:DIR or procedural, and @fps=15,weight=0.2; repeatable."
        ),
    ] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="Another value for a field of the recipe, as batch=256.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="torch: cpu, cuda. [default: cuda where there is one]")] = None,
    fsdp: Annotated[int, typer.Option(min=0, help="Devices that share one copy of the weights. [default: all]")] = 0,
    recompute: Annotated[bool, typer.Option("--recompute", help="Compute activations again to save memory.")] = False,
    accumulate: Annotated[int, typer.Option(min=1, help="Parts that a batch is taken in, one after the other.")] = 1,
    compile_blocks: Annotated[bool, typer.Option("--compile", help="torch: compile the blocks.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that make batches.")] = 0,
    log_every: Annotated[int, typer.Option(min=1, help="Steps between two lines of the log.")] = 10,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between two checkpoints.")] = 1000,
    keep: Annotated[int, typer.Option(min=1, help="Checkpoints that stay.")] = 2,
    pictures_every: Annotated[int, typer.Option(min=0, help="Steps between two pictures; 0 for none.")] = 1000,
    left_out_limit: Annotated[
        float, typer.Option(min=0, max=1, help="Share of samples that may be left out as damaged.")
    ] = 0.01,
    peak_tflops: Annotated[
        float | None, typer.Option(help="Peak of one device, for the share of it that is used (MFU).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and train nothing.")] = False,
) -> None:
    """Pre-train an RVM. Interrupted, the same command resumes; under `torchrun` it uses many GPUs."""
    from rvm_bench.api.overrides import override as overridden
    from rvm_bench.errors import UserError
    from rvm_bench.rvm.train.recipes import RECIPES, find_recipe

    if recipe == "ls":
        for name, made in RECIPES.items():
            typer.echo(f"{name:20}  {(made.__doc__ or '').splitlines()[0]}")
        return
    chosen = overridden(find_recipe(recipe), override or [], fixed="name")
    if steps is not None:
        chosen = chosen.with_steps(steps)
    if dry_run:
        from rvm_bench.rvm.train.cost import summary

        typer.echo(summary(chosen))
        return
    if out is None:
        raise UserError("train needs --out, the folder of this training")
    from rvm_bench.rvm.train import run
    from rvm_bench.rvm.train.data.sources import parse_sources
    from rvm_bench.rvm.train.trainer import Layout

    done = run.train(
        chosen,
        parse_sources(data) if data else (),
        out,
        backend=backend,
        layout=Layout(fsdp=fsdp, recompute=recompute, accumulate=accumulate, compile=compile_blocks),
        device=device,
        options=run.TrainingOptions(
            workers=workers,
            log_every=log_every,
            checkpoint_every=checkpoint_every,
            keep=keep,
            pictures_every=pictures_every,
            left_out_limit=left_out_limit,
            peak_flops=peak_tflops and peak_tflops * 1e12,
        ),
    )
    if done < chosen.steps:
        raise typer.Exit(130)


def export(
    folder: Annotated[Path, typer.Argument(help="Folder that `rvm-bench train --out` wrote.")],
    out: Annotated[Path, typer.Option(help="The checkpoint, an .npz in the official naming.")],
    step: Annotated[int | None, typer.Option(help="Of the checkpoint. [default: the last one]")] = None,
) -> None:
    """Write the weights of a training as a checkpoint that `--model rvm --weights FILE` loads."""
    from rvm_bench.rvm.train import export as exporting

    done, count = exporting.export(folder, out, step)
    typer.echo(f"{out}: {count / 1e6:.1f} M parameters after {done:,} steps, {out.stat().st_size / 1e6:.1f} MB")
