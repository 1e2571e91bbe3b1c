"""``agecls predict``."""

from pathlib import Path
from typing import Annotated

import typer

from agecls.commands.options import Json, McDropout
from agecls.screen import say, show_predictions, write_json

EXAMPLE = "Example: agecls predict runs/age-7-1 runs/gender-7-1 photo.jpg faces/ --csv out.csv --plot out.png"


def predict(
    arguments: Annotated[
        list[str], typer.Argument(metavar="RUN... IMAGE|DIR...", help="Runs, then images, folders or globs.")
    ],
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one row an image.")] = None,
    mc_dropout: McDropout = 0,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Mean of all runs, which must be of one task and bins, as one answer.")
    ] = False,
    json: Json = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a contact sheet with labels and probabilities, as PNG.")
    ] = None,
) -> None:
    """Predict images with one or more runs; each image is decoded once.

    A bad image among good ones gets a row with its error, and the exit code is 1.
    """
    from agecls.predict import predict_images, sort_arguments, write_csv, write_picture

    asked = sort_arguments(arguments)
    if asked.left_out:
        say(f"{asked.left_out} files in the folders are no images and are left out")
    leaked = any(run.leaked for run in asked.runs)
    predictions = predict_images(asked.runs, asked.images, passes=mc_dropout, ensemble=ensemble)
    # Files first: who reads only the head of the table closes the pipe.
    if json:
        write_json(json, [prediction.to_json() for prediction in predictions])
    if csv:
        write_csv(predictions, csv)
    failed = sum(bool(prediction.error) for prediction in predictions)
    if plot and failed < len(predictions):
        write_picture(predictions, plot, leaked=leaked)
    show_predictions(predictions, leaked=leaked)
    if failed:
        say(f"{failed} of {len(predictions)} images could not be predicted")
        raise typer.Exit(1)
