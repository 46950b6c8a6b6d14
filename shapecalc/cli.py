"""The command line: parse, call the library, render, exit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from shapecalc import terminal
from shapecalc.diagnostics import Diagnostic, SpecError

if TYPE_CHECKING:
    from shapecalc.report.progress import Progress

app = typer.Typer(
    help="A convolutional network as a short spec: counted, explained, built and trained.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Format(StrEnum):
    """How `show` prints."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"


class ReportFormat(StrEnum):
    """How the other commands print."""

    table = "table"
    json = "json"


SpecFile = Annotated[str, typer.Argument(metavar="SPEC", help="A spec: a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override anything in the spec, such as params.classes=10 or train.epochs=3.",
    ),
]
InputShape = Annotated[
    str | None, typer.Option("--input", metavar="3x224x224", help="Override the input's shape.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]


@app.command()
def show(
    spec: SpecFile,
    set_: Overrides = None,
    input_: InputShape = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Add each layer's formula with its numbers.")
    ] = False,
    format: Annotated[Format, typer.Option(help="How to print the rows.")] = Format.table,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Build the model and compare every row with torch."),
    ] = False,
) -> None:
    """Every shape, count and cost of a network.

    Nothing is built or run, and torch is not imported.
    """
    loaded = terminal.load_spec(spec, set_ or (), input_)
    terminal.show(loaded, format.value, explain)
    if verify:
        from shapecalc.builder.verify import verify as verify_rows
        from shapecalc.tracer import trace

        result = verify_rows(trace(loaded))
        print(result, file=sys.stdout if format is Format.table else sys.stderr)


@app.command()
def check(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC...", help="One or more specs.")],
    set_: Overrides = None,
    input_: InputShape = None,
    expect_in_features: Annotated[
        int | None, typer.Option(help="In-features that the first linear layer must get.")
    ] = None,
    max_params: Annotated[int | None, typer.Option(help="Most params that are allowed.")] = None,
    max_macs: Annotated[int | None, typer.Option(help="Most MACs that are allowed.")] = None,
    format: Annotated[ReportFormat, typer.Option(help="How to print.")] = ReportFormat.table,
) -> None:
    """All faults of specs and of their variants, and limits that they pass.

    Exits with 1 where there is any.
    """
    from shapecalc.analysis.check import check as check_spec

    found: list[Diagnostic] = []
    names = list(specs)
    for name in names:
        try:
            spec = terminal.load_spec(name, set_ or (), input_)
            names += (f"{name}@{variant}" for variant in spec.variants)
            found += check_spec(
                spec,
                expect_in_features=expect_in_features,
                max_params=max_params,
                max_macs=max_macs,
            )
        except SpecError as error:
            found += error.diagnostics
    found = list(dict.fromkeys(found))  # what is wrong in several variants is told once
    if format is ReportFormat.json:
        import json

        from shapecalc.report.diagnostics import as_json

        print(json.dumps(as_json(found), indent=2))
    elif found:
        terminal.complain(found)
    else:
        print("the spec is fine" if len(names) == 1 else f"all {len(names)} specs are fine")
    if found:
        raise typer.Exit(1)


@app.command()
def sizes(
    spec: SpecFile,
    set_: Overrides = None,
    input_: InputShape = None,
    format: Annotated[ReportFormat, typer.Option(help="How to print.")] = ReportFormat.table,
) -> None:
    """Which input sizes a network takes.

    The smallest, those that keep the in-features, and those at which no pixel is dropped.
    """
    from shapecalc.analysis.sizes import sizes as input_sizes
    from shapecalc.report import sizes as report

    found = input_sizes(terminal.load_spec(spec, set_ or (), input_))
    if format is ReportFormat.json:
        print(report.as_json(found))
    else:
        print(report.as_text(found, terminal.width()))


@app.command()
def train(
    spec: Annotated[
        str | None, typer.Argument(metavar="[SPEC]", help="A spec; not needed with --resume.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="Class folders, or train/ and valid/ of them.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="In place of train.epochs.")] = None,
    device: Device = "auto",
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="The run's folder; else runs/NAME-1, -2 ...")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")
    ] = False,
    set_: Overrides = None,
    input_: InputShape = None,
) -> None:
    """Train a network on images.

    Leaves a run folder with weights, metrics and pictures.
    """
    if (spec is None) == (resume is None):
        raise terminal.UsageError("train takes a SPEC, or --resume RUN to go on with one")
    if resume is not None and (data or out or set_ or input_):
        raise terminal.UsageError(
            "--resume goes on as the run was started: only --epochs and --device fit with it"
        )
    settings = list(set_ or [])
    if data is not None:
        settings.append(f"train.data={{folder: {_quoted(data)}}}")
    if epochs is not None:
        settings.append(f"train.epochs={epochs}")
    loaded = None if spec is None else terminal.load_spec(spec, settings, input_)

    from shapecalc.training import loop

    with _progress() as progress:
        if loaded is not None:
            run = loop.train(loaded, out=out, device=device, skip_bad=skip_bad, reporter=progress)
        else:
            assert resume is not None
            run = loop.resume(
                resume, epochs=epochs, device=device, skip_bad=skip_bad, reporter=progress
            )
        progress.close()
        folder = run.path.parent
        print(f"the run is in {folder}; its best weights, of epoch {run.epoch}: {run.path}")


@app.command("eval")
def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run, or its weights file.")],
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="Else the data that the run was trained on.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="train, valid or test; else test where there is one.")
    ] = None,
    device: Device = "auto",
    format: Annotated[ReportFormat, typer.Option(help="How to print.")] = ReportFormat.table,
) -> None:
    """How well a trained network does.

    Accuracy, a report of each class and the confusion matrix.
    """
    from shapecalc.report import results
    from shapecalc.training.device import choose_device
    from shapecalc.training.run import load_run

    loaded = load_run(run)
    with _progress() as progress:
        result, samples = loaded.evaluate(
            data, split=split, device=choose_device(device), reporter=progress
        )
        progress.close()
    if format is ReportFormat.json:
        print(results.evaluation_json(result, loaded.classes))
    else:
        print(results.evaluation_text(result, loaded.classes, str(samples.root), terminal.width()))


@app.command()
def predict(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run, or its weights file.")],
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Pictures.")],
    top: Annotated[int, typer.Option(min=1, help="Classes to name for each picture.")] = 5,
    device: Device = "auto",
    format: Annotated[ReportFormat, typer.Option(help="How to print.")] = ReportFormat.table,
) -> None:
    """What a trained network sees in pictures.

    The likeliest classes, with probabilities.
    """
    from shapecalc.report import results
    from shapecalc.training.device import choose_device
    from shapecalc.training.run import load_run

    loaded = load_run(run)
    found = loaded.predict(images, top=top, device=choose_device(device))
    if format is ReportFormat.json:
        print(results.predictions_json(found))
    else:
        print(results.predictions_text(found))


@app.command()
def schema() -> None:
    """The JSON Schema of a spec file, for an editor.

    With it an editor completes and checks a spec while it is typed:

    shapecalc schema > spec.schema.json

    Then let a spec begin with this line, which yaml-language-server reads (the YAML extension of
    VS Code, and most other editors):

    # yaml-language-server: $schema=spec.schema.json
    """
    import json

    from shapecalc.language.schema import schema as spec_schema

    print(json.dumps(spec_schema(), indent=2))


def run() -> None:
    """Run the command line."""
    terminal.guarded(app)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A progress bar; Ctrl-C and SIGTERM end what goes on, with a word on how to go on."""
    import gc
    import signal

    from shapecalc.report.progress import Progress

    def terminate(*_: object) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Terminated

    gc.enable()
    signal.signal(signal.SIGTERM, terminate)
    with Progress() as progress:
        try:
            yield progress
        except (KeyboardInterrupt, _Terminated) as stop:
            progress.stopped()
            raise typer.Exit(143 if isinstance(stop, _Terminated) else 130) from None


class _Terminated(BaseException):
    """The system asks the process to end."""


def _quoted(text: str) -> str:
    """A path as a YAML word."""
    import json

    return json.dumps(text, ensure_ascii=False)
