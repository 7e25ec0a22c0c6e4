"""`hardtack model`: look at model packages, try them, write them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hardtack.cli.extras import needs_extra
from hardtack.cli.options import Existing
from hardtack.cli.output import json_option, print_facts, print_json, print_table
from hardtack.core.errors import ConfigError, ModelError
from hardtack.core.units import format_size
from hardtack.inference import package

_directory = click.argument(
    "directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False)
)


@click.group()
def model() -> None:
    """Model packages: check, show, run, write."""


@model.command()
@_directory
@json_option
def check(directory: Path, as_json: bool) -> None:
    """Is everything there, unharmed, does it load, and say of its golden picture what it must?

    Exit 1 when not.

    DIR is a package, a directory of versions, or a detector's directory; of several versions the
    highest whole one counts.
    """
    needs_extra("inference", "numpy", "onnxruntime", "PIL")
    from hardtack.inference import fitting, golden
    from hardtack.inference.model import open_model

    try:
        found = open_model(directory)
        fitting.check(found)
        golden.check(found)
    except ModelError as error:
        if as_json:
            print_json({"whole": False, "problem": str(error)})
        else:
            click.echo(str(error))
        sys.exit(1)
    facts = {
        "whole": True,
        "name": found.package.name,
        "version": found.package.version,
        "task": found.package.task,
        "directory": found.package.directory,
        "golden": found.package.golden.answer if found.package.golden else "none",
    }
    print_json(facts) if as_json else print_facts(facts.items())


@model.command()
@_directory
@json_option
def show(directory: Path, as_json: bool) -> None:
    """What a model answers, from which files, and what its networks take in and put out."""
    needs_extra("inference", "numpy", "onnxruntime", "PIL")
    from hardtack.inference.model import open_model

    found = open_model(directory)
    if as_json:
        print_json(
            {
                "name": found.package.name,
                "version": found.package.version,
                "package": found.package,
                "inputs": found.main.session.inputs,
                "outputs": found.main.session.outputs,
                "oodd": found.outliers.package if found.outliers else None,
            }
        )
        return
    print_facts(
        [
            ("name", found.package.name),
            ("version", found.package.version),
            ("task", found.package.task),
            ("classes", ", ".join(found.package.classes) or "none"),
            ("oodd", found.outliers.package.version if found.outliers else "none"),
        ]
    )
    click.echo()
    print_table(
        ("file", "size", "SHA-256"),
        ((w.file, format_size(w.size), w.sha256 or "not given") for w in found.package.weights),
    )
    click.echo()
    session = found.main.session
    ports = [("input", p) for p in session.inputs] + [("output", p) for p in session.outputs]
    print_table(
        ("network", "name", "shape", "type"),
        ((what, p.name, "×".join("?" if n < 0 else str(n) for n in p.shape), p.type)
         for what, p in ports),
    )  # fmt: skip


@model.command("run")
@_directory
@click.argument("image", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def run_(directory: Path, image: Path, as_json: bool) -> None:
    """Put IMAGE to a model and print its answer."""
    needs_extra("inference", "numpy", "onnxruntime", "PIL")
    from hardtack.inference.model import open_model
    from hardtack.inference.response import as_json as answer_of

    try:
        data = image.read_bytes()
    except OSError as error:
        raise ConfigError(f"{image} can't be read: {error.strerror}.") from None
    answer = answer_of(open_model(directory).infer(data))
    if as_json:
        print_json(answer)
        return
    boxes = answer.pop("boxes", ())
    probabilities = answer.pop("probabilities", {})
    print_facts((k, f"{v:.3f}" if isinstance(v, float) else v) for k, v in answer.items())
    if probabilities:
        click.echo()
        print_table(("class", "probability"), ((k, f"{v:.3f}") for k, v in probabilities.items()))
    if boxes:
        click.echo()
        sides = ("score", "left", "top", "right", "bottom")
        print_table(
            ("label", *sides), ((b["label"], *(f"{b[s]:.3f}" for s in sides)) for b in boxes)
        )


@model.command()
@click.argument("onnx", type=Existing(directories=False))
@click.option(
    "--to", "directory", required=True, metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to write the package, such as models/det_…/primary/1.",
)  # fmt: skip
@click.option("--task", type=click.Choice(package.TASKS), required=True)
@click.option(
    "--class", "classes", multiple=True,
    help="A class, in the order of the network's output; repeat it. binary: YES, NO.",
)  # fmt: skip
@click.option(
    "--golden", "picture", metavar="IMAGE",
    type=Existing(directories=False),
    help="A picture that each server of the model is asked first; goes into the package.",
)  # fmt: skip
@click.option("--answer", help="What --golden shows: a class, a text, or how many boxes.")
def new(
    onnx: Path, directory: Path, task: str, classes: tuple[str, ...], picture: Path | None,
    answer: str | None,
) -> None:  # fmt: skip
    """Write a package for an ONNX file. What model.toml says of its input is a guess: check it."""
    if (picture is None) != (answer is None):
        raise click.UsageError("--golden and --answer go together.")
    if not classes and task in ("multiclass", "count", "boxes"):
        each = "each class, in the order of the network's output"
        named = each if task == "multiclass" else "what the boxes show"
        raise click.UsageError(f"--task {task} needs --class: {named}.")
    needs_extra("inference", "numpy", "onnxruntime", "PIL")
    from hardtack.inference import writing

    chosen = classes or (("YES", "NO") if task == "binary" else ())
    text = writing.draft(onnx, task, chosen)
    if picture is not None and answer is not None:
        text += writing.golden(task, picture, answer)
    writing.write_package(directory, text, onnx, *([picture] if picture else []))
    click.echo(directory / package.FILE)
