"""The command line: parse, call the library, render, exit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shapecalc import terminal
from shapecalc.diagnostics import Diagnostic

if TYPE_CHECKING:
    from shapecalc.language.spec import Spec
    from shapecalc.report.progress import Progress
    from shapecalc.training.stop import Stop

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


class ExportFormat(StrEnum):
    """What `export` writes."""

    python = "python"
    onnx = "onnx"
    pt2 = "pt2"


Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
DataFolder = Annotated[
    str | None,
    typer.Option("--data", metavar="DIR", help="Class folders, or train/ and valid/ of them."),
]
RunPath = Annotated[str, typer.Argument(metavar="RUN", help="A run, or its weights file.")]
OwnData = Annotated[
    str | None,
    typer.Option("--data", metavar="DIR", help="Else the data that the run was trained on."),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")]


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
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 on a lint, too.")] = False,
    format: Annotated[ReportFormat, typer.Option(help="How to print.")] = ReportFormat.table,
) -> None:
    """All faults of specs and of their variants, limits that they pass, and lints.

    A lint is a warning: what works, but hardly as it was meant. `allow: W103` on a layer, or at the
    top of a spec, silences one. Exits with 1 where there is an error; with --strict on a lint, too.
    """
    from shapecalc.analysis.check import check_all

    def load(name: str) -> Spec:
        return terminal.load_spec(name, set_ or (), input_)

    limits = {
        "expect_in_features": expect_in_features,
        "max_params": max_params,
        "max_macs": max_macs,
    }
    found: list[Diagnostic] = []
    count = 0
    for name in specs:
        more, number = check_all(name, load, reload=bool(set_), **limits)
        found += more
        count += number
    errors = any(d.severity == "error" for d in found)
    if format is ReportFormat.json:
        import json

        from shapecalc.report.diagnostics import as_json

        print(json.dumps(as_json(found), indent=2))
    elif found:
        terminal.complain(found)
        if not errors:
            print(f"no errors, {len(found)} {'lint' if len(found) == 1 else 'lints'}")
    else:
        print("the spec is fine" if count == 1 else f"all {count} specs are fine")
    if errors or (found and strict):
        raise typer.Exit(1)


@app.command()
def sizes(
    spec: SpecFile,
    set_: Overrides = None,
    input_: InputShape = None,
    format: Annotated[ReportFormat, typer.Option(help="How to print.")] = ReportFormat.table,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw the in-features by size.")
    ] = None,
) -> None:
    """Which input sizes a network takes.

    The smallest and all others, those that keep the in-features, and those at which no pixel is
    dropped.
    """
    from shapecalc.analysis.sizes import sizes as input_sizes
    from shapecalc.report import sizes as report

    found = input_sizes(terminal.load_spec(spec, set_ or (), input_))
    if format is ReportFormat.json:
        print(report.as_json(found))
    else:
        print(report.as_text(found, terminal.width()))
    if plot is not None:
        with _writing("--plot", plot):
            report.draw(found, plot)


@app.command()
def solve(
    spec: SpecFile,
    output: Annotated[
        str | None, typer.Option(metavar="128x7x7", help="The output's shape, exactly.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="The layer whose output --output is for, else the last one with as many axes.",
        ),
    ] = None,
    in_features: Annotated[
        int | None,
        typer.Option(min=1, help="In-features of the first linear layer after a convolution."),
    ] = None,
    params: Annotated[
        str | None, typer.Option(metavar="5M", help="The most params; k, M and G are 1000s.")
    ] = None,
    macs: Annotated[
        str | None, typer.Option(metavar="500M", help="The most MACs for one sample.")
    ] = None,
    receptive_field: Annotated[
        int | None,
        typer.Option(min=1, help="The least that the last convolution or pool is to see."),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="8GiB", help="The most at the peak of a training step as in train:."),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            help="What may change: a path as show prints it, a path with an argument such as "
            "layers.4.stride, layers (all of them), input, width, batch_size or params.NAME.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most solutions to show.")] = 10,
    seconds: Annotated[float, typer.Option(min=0, help="How long to search, of one core.")] = 1.4,
    write: Annotated[
        int | None,
        typer.Option(min=1, metavar="[N]", help="Put solution N, else the first, into the file."),
    ] = None,
    set_: Overrides = None,
    input_: InputShape = None,
    format: Annotated[ReportFormat, typer.Option(help="How to print.")] = ReportFormat.table,
) -> None:
    """The smallest changes that bring a network to a goal.

    Goals can be combined. --output and --in-features are met exactly, --receptive-field is the
    least, --params, --macs and --memory are the most: of the changes of one value that stay below,
    the smallest is shown, which comes nearest.

    Without --vary, what may change is the kernel_size, stride and padding of every convolution and
    pool, for a receptive field the dilation and for a shape the channels, too; for params and MACs
    also the width: all out_channels and out_features but the last, times one factor, in multiples
    of 8; for memory the batch size and the width.

    A layer written in a block or a repeat is changed where it is written, and all that are made of
    it change along. A value that is an expression stays, unless it is just one param, which may
    change then.

    One change is tried, then two, and three where that was not enough. Solutions are ranked by the
    number of changes, by how large they are (twice or half as much counts 1) and by MACs. Each was
    traced in full. --write keeps comments and layout. Exits with 1 where there is no solution.
    """
    from shapecalc.analysis import solve as solving
    from shapecalc.report import solve as report

    def load() -> Spec:
        return terminal.load_spec(spec, set_ or (), input_)

    loaded = load()
    goals = solving.Goals(
        terminal.parse_shape("--output", output),
        at,
        in_features,
        terminal.parse_count("--params", params),
        terminal.parse_count("--macs", macs),
        receptive_field,
        terminal.parse_memory(memory),
    )
    found = solving.search(loaded, goals, vary=vary or (), limit=limit, seconds=seconds)
    if format is ReportFormat.json:
        print(report.as_json(found, loaded.name))
    else:
        print(report.as_text(found, loaded.name, terminal.width()))
    if not found.solutions:
        raise typer.Exit(1)
    if write is None or not found.solutions[0].changes:
        return
    if write > len(found.solutions):
        raise terminal.UsageError(f"--write {write}: there is no solution of that number")
    from shapecalc.analysis import mend

    chosen = found.solutions[write - 1]
    file = mend.write(chosen, spec, load)
    print(report.written(chosen, str(file)), file=sys.stderr)


@app.command()
def memory(
    spec: SpecFile,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="In place of train.batch_size.")
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(metavar="NAME", help="In place of train.optimizer.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, bf16 or fp16, in place of train.precision.")
    ] = None,
    fits: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Tell the largest batch for so much, such as 8GiB."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Also tell the least time: h100-sxm, t4 ..., or here."),
    ] = None,
    set_: Overrides = None,
    input_: InputShape = None,
    format: Annotated[ReportFormat, typer.Option(help="How to print.")] = ReportFormat.table,
) -> None:
    """How much memory training takes, and how much time at least.

    Weights, gradients, the optimizer's state, what is kept for the backward pass, and the peaks.
    Nothing is built or run; --device here measures this machine with torch.
    """
    from shapecalc.analysis.budget import budget
    from shapecalc.analysis.memory import parse_bytes
    from shapecalc.analysis.roofline import find_device
    from shapecalc.report import memory as report

    room = None if fits is None else parse_bytes(fits)
    given = {"batch_size": batch_size, "optimizer": optimizer, "precision": precision}
    settings = [f"train.{key}={value}" for key, value in given.items() if value is not None]
    loaded = terminal.load_spec(spec, [*(set_ or ()), *settings], input_)
    figures = None
    if device == "here":
        from shapecalc.training.peaks import here

        figures = here(loaded.recipe().precision)
    elif device is not None:
        figures = find_device(device)
    found = budget(loaded, device=figures, room=room)
    if format is ReportFormat.json:
        print(report.as_json(found))
    else:
        print(report.as_text(found, terminal.width()))


@app.command()
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="A spec, or FILE@VARIANT.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    set_: Overrides = None,
    input_: InputShape = None,
    every: Annotated[
        bool, typer.Option("--all", help="Write out the layers that are the same, too.")
    ] = False,
    format: Annotated[ReportFormat, typer.Option(help="How to print.")] = ReportFormat.table,
) -> None:
    """Two networks side by side, layer by layer, and where they part.

    Before a layer, - and + say that only the first or the second network has it, < and > that it is
    not the same in both. Overrides go for both.
    """
    from shapecalc.analysis.diff import diff as difference
    from shapecalc.report import diff as report
    from shapecalc.tracer import trace

    found = difference(
        *(trace(terminal.load_spec(spec, set_ or (), input_)) for spec in (first, second))
    )
    if format is ReportFormat.json:
        print(report.as_json(found))
    else:
        color = terminal.has_color(sys.stdout)
        print(report.as_text(found, width=terminal.width(), color=color, every=every))


@app.command()
def train(
    spec: Annotated[
        str | None, typer.Argument(metavar="[SPEC]", help="A spec; not needed with --resume.")
    ] = None,
    data: DataFolder = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="In place of train.epochs.")] = None,
    device: Device = "auto",
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="The run's folder; else runs/NAME-1, -2 ...")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped.")
    ] = None,
    repeat: Annotated[
        int | None,
        typer.Option(min=2, metavar="N", help="Train N runs, with seed, seed + 1 and so on."),
    ] = None,
    skip_bad: SkipBad = False,
    set_: Overrides = None,
    input_: InputShape = None,
) -> None:
    """Train a network on images.

    Leaves a run folder with weights, metrics, pictures and report.html. With --repeat it tells the
    mean of several runs and how far they spread; --out DIR then names DIR-1, DIR-2 and so on.
    """
    if (spec is None) == (resume is None):
        raise terminal.UsageError("train takes a SPEC, or --resume RUN to go on with one")
    if resume is not None and (data or out or repeat or set_ or input_):
        raise terminal.UsageError(
            "--resume goes on as the run was started: only --epochs and --device fit with it"
        )
    if repeat is not None:
        _expect_alone("--repeat")
    loaded = None if spec is None else _to_train(spec, data, epochs, set_, input_)

    said = (
        "stopped before training began: there is no run yet, and splits that the cache on disk "
        "holds whole are kept; go on with the same command"
    )
    if repeat is not None:
        said = "stopped before the next of the runs began; those that are finished are kept"
    with _stoppable(said) as (progress, stop), _told_once():
        from shapecalc.training import loop

        if loaded is not None and repeat is not None:
            from shapecalc.analysis.runs import read_run
            from shapecalc.report.runs import repeats_text
            from shapecalc.training.repeat import repeat as train_repeatedly

            trained = train_repeatedly(
                loaded,
                repeat,
                out=out,
                device=device,
                skip_bad=skip_bad,
                reporter=progress,
                stop=stop,
            )
            progress.close()
            print(repeats_text([read_run(run.path.parent) for run in trained], terminal.width()))
            return
        if loaded is not None:
            run = loop.train(
                loaded, out=out, device=device, skip_bad=skip_bad, reporter=progress, stop=stop
            )
        else:
            assert resume is not None
            run = loop.resume(
                resume,
                epochs=epochs,
                device=device,
                skip_bad=skip_bad,
                reporter=progress,
                stop=stop,
            )
        progress.close()
        folder = run.path.parent
        from shapecalc.training.launch import launch

        if not launch().rank:
            print(f"the run is in {folder}; its best weights, of epoch {run.epoch}: {run.path}")


@app.command("lr-find")
def lr_find(
    spec: SpecFile,
    data: DataFolder = None,
    device: Device = "auto",
    steps: Annotated[int, typer.Option(min=10, help="Steps, each with a larger rate.")] = 100,
    lowest: Annotated[float, typer.Option(min=0, help="The rate of the first step.")] = 1e-7,
    highest: Annotated[float, typer.Option(min=0, help="The rate of the last step.")] = 10.0,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="The curve; else NAME-lr.svg.")
    ] = None,
    skip_bad: SkipBad = False,
    set_: Overrides = None,
    input_: InputShape = None,
    format: Annotated[ReportFormat, typer.Option(help="How to print.")] = ReportFormat.table,
) -> None:
    """Which learning rate to train with.

    Trains for some steps as train: says, with a rate that grows from step to step until the loss
    goes up for good. The suggestion is a tenth of the rate at which the smoothed loss falls
    fastest. Leaves no run behind, only the curve. Exits with 1 where the loss never fell.
    """
    _expect_alone("lr-find")
    if not 0 < lowest < highest:
        raise terminal.UsageError(f"--lowest {lowest:g} is to lie between 0 and {highest:g}")
    loaded = _to_train(spec, data, None, set_, input_)

    from shapecalc.report import lr_find as report

    with _stoppable("stopped; nothing is left behind") as (progress, _):
        from shapecalc.training.lr_find import lr_find as sweep
        from shapecalc.training.run import file_name

        found = sweep(
            loaded,
            lowest=lowest,
            highest=highest,
            steps=steps,
            device=device,
            skip_bad=skip_bad,
            reporter=progress,
        )
        progress.close()
    path = plot or Path(f"{file_name(loaded.name)}-lr.svg")
    with _writing("--plot", path):
        report.draw(found, path, title=loaded.name)
    if format is ReportFormat.json:
        print(report.as_json(found))
    else:
        print(report.as_text(found, str(path)))
    found.expect_suggestion()


@app.command()
def report(
    run: RunPath,
    data: OwnData = None,
    split: Annotated[
        str | None, typer.Option(help="train, valid or test; else valid, or all of --data.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FILE.html", help="Else report.html in the run.")
    ] = None,
    device: Device = "auto",
) -> None:
    """A run as one page, for a browser without a network.

    Curves, classes, the most wrong pictures, what the network looks at, its first filters, its
    layers, settings, versions and times. Training leaves one, too.
    """
    with _stoppable("stopped; no report was written") as (progress, _):
        from shapecalc.training.device import choose_device
        from shapecalc.training.report import report as write

        path = write(
            run,
            data,
            split=split or ("valid" if data is None else None),
            out=out,
            device=choose_device(device),
            reporter=progress,
        )
        progress.close()
    print(f"the report is in {path}")


@app.command()
def runs(
    folder: Annotated[str, typer.Argument(metavar="[FOLDER]", help="Where the runs are.")] = "runs",
    sort: Annotated[
        str,
        typer.Option(metavar="KEY", help="date, name, accuracy, loss, epochs, time or a setting."),
    ] = "date",
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw their curves over each other.")
    ] = None,
    format: Annotated[ReportFormat, typer.Option(help="How to print.")] = ReportFormat.table,
) -> None:
    """Runs side by side: results, and the settings in which they differ.

    Accuracy and loss are those of validation, at the epoch with the best accuracy.
    """
    from shapecalc.analysis.runs import differing, find_runs, in_order
    from shapecalc.report import runs as report

    found, faults = find_runs(folder)
    found = in_order(found, sort)
    settings = differing(found)
    if format is ReportFormat.json:
        print(report.as_json(found, settings))
    else:
        print(report.as_text(found, settings, terminal.width()))
    if plot is not None:
        with _writing("--plot", plot):
            report.draw(found, settings, plot, title=f"runs in {folder}")
    if faults:
        terminal.complain(faults)
        raise typer.Exit(1)


@app.command("eval")
def evaluate(
    run: RunPath,
    data: OwnData = None,
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

    with _stoppable("stopped") as (progress, _):
        from shapecalc.training.device import choose_device
        from shapecalc.training.run import load_run

        loaded = load_run(run)
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
    run: RunPath,
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Pictures, or folders of them.")
    ],
    top: Annotated[int, typer.Option(min=1, help="Classes to name for each picture.")] = 5,
    device: Device = "auto",
    format: Annotated[ReportFormat, typer.Option(help="How to print.")] = ReportFormat.table,
) -> None:
    """What a trained network sees in pictures.

    The likeliest classes, with probabilities.
    """
    from shapecalc.report import results

    with _stoppable("stopped") as (progress, _):
        from shapecalc.training.device import choose_device
        from shapecalc.training.run import load_run

        loaded = load_run(run)
        where = choose_device(device)
        found = loaded.predict(images, top=top, device=where, reporter=progress)
        progress.close()
    if format is ReportFormat.json:
        print(results.predictions_json(found))
    else:
        print(results.predictions_text(found))


@app.command()
def export(
    network: Annotated[
        str, typer.Argument(metavar="SPEC or RUN", help="A spec, a run or its weights file.")
    ],
    to: Annotated[ExportFormat, typer.Option(help="The form of the file.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Else the network's name, in this folder.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that is there already.")
    ] = False,
    set_: Overrides = None,
    input_: InputShape = None,
) -> None:
    """A network in a file for others, which do not need shapecalc.

    python: the source of a plain torch module. It takes the weights of a run as they are.
    onnx: for ONNX runtimes, with the weights, for any batch size; needs shapecalc[onnx].
    pt2: a program of torch.export, with the weights, for any batch size.

    A run is written with its best weights, a spec with those that its init: gives it.
    """
    from shapecalc.export.file import write
    from shapecalc.training.run import load_run

    is_run = Path(network).is_dir() or network.endswith(".safetensors")
    if is_run and (set_ or input_):
        raise terminal.UsageError("--set and --input go with a spec; a run is as it was trained")
    loaded = load_run(network) if is_run else terminal.load_spec(network, set_ or (), input_)
    path, about = write(loaded, to.value, out, force=force)
    print("\n".join([f"wrote {path}", *about]), file=sys.stderr)


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of them.")] = False,
    format: Annotated[ReportFormat, typer.Option(help="How to print.")] = ReportFormat.table,
) -> None:
    """The decoded images that are kept for the next run.

    Those that were not used for longest are removed once all take more than a limit: 20 GiB, or
    half of what is free, or what SHAPECALC_CACHE_LIMIT=50GiB says; 0 keeps none. SHAPECALC_CACHE
    names another folder. A run that needs what was removed decodes it anew.
    """
    import time

    from shapecalc.report import cache as report
    from shapecalc.training import store

    as_json = format is ReportFormat.json
    if clear:
        count, size = store.clear()
        shown = report.cleared_json if as_json else report.cleared_text
        print(shown(count, size, store.folder()))
        return
    found, folder, limit = store.entries(), store.folder(), store.limit()
    if as_json:
        print(report.as_json(found, folder, limit))
    else:
        print(report.as_text(found, folder, limit, time.time()))


@app.command()
def explain(
    code: Annotated[
        str | None, typer.Argument(metavar="[CODE]", help="Such as E203; else all are listed.")
    ] = None,
    format: Annotated[ReportFormat, typer.Option(help="How to print.")] = ReportFormat.table,
) -> None:
    """What a code of an error or a lint means.

    Why it is so, a spec that has it with its report, and one that has not.
    """
    from shapecalc.analysis.explain import page, pages, reports
    from shapecalc.report import explain as report

    shown = pages() if code is None else [page(code)]
    if format is ReportFormat.json:
        print(report.as_json((one, reports(one) if one.bad else []) for one in shown))
    elif code is None:
        print(report.as_list(shown))
    else:
        color, width = terminal.has_color(sys.stdout), terminal.width()
        found = reports(shown[0]) if shown[0].bad else []
        print(report.as_text(shown[0], found, color=color, width=width))


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
    terminal.guarded(lambda: app(terminal.with_numbers(sys.argv[1:])))


@contextmanager
def _stoppable(said: str) -> Iterator[tuple[Progress, Stop]]:
    """A progress bar, and the wish of Ctrl-C and SIGTERM that what goes on may end; it ends with a
    word on how to go on, else with what is `said`."""
    import gc
    import signal

    from shapecalc.report.progress import Progress
    from shapecalc.training.launch import launch
    from shapecalc.training.stop import Stopped, by_signals

    gc.enable()
    first = not launch().rank
    try:
        with Progress() as progress:
            told = progress.hurry if first else progress.close
            with by_signals(told) as stop:
                yield progress, stop
    except Stopped as stopped:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # one more ends the process without a word
        if first:
            print(stopped.said or said, file=sys.stderr)
        raise typer.Exit(128 + stopped.signal) from None


def _to_train(
    spec: str, data: str | None, epochs: int | None, set_: list[str] | None, input_: str | None
) -> Spec:
    """A spec with what the options of training say in place of its own."""
    settings = list(set_ or [])
    if data is not None:
        settings.append(f"train.data={{folder: {_quoted(data)}}}")
    if epochs is not None:
        settings.append(f"train.epochs={epochs}")
    return terminal.load_spec(spec, settings, input_)


def _expect_alone(what: str) -> None:
    """Raises UsageError in one of several processes."""
    from shapecalc.training.launch import launch

    if launch().world > 1:
        raise terminal.UsageError(f"{what} runs in one process: start it without torchrun")


@contextmanager
def _writing(option: str, path: Path) -> Iterator[None]:
    """A file that an option names and that cannot be written is a command used wrongly."""
    try:
        yield
    except OSError as error:
        raise terminal.UsageError(f"{option} {path}: {error.strerror}") from None


@contextmanager
def _told_once() -> Iterator[None]:
    """Of several processes that torchrun has started, the first tells what goes wrong in all."""
    from shapecalc.diagnostics import RunError

    try:
        yield
    except RunError as error:
        from shapecalc.training.distributed import is_told_by_first

        if is_told_by_first(error):
            raise typer.Exit(1) from None
        raise


def _quoted(text: str) -> str:
    """A path as a YAML word."""
    import json

    return json.dumps(text, ensure_ascii=False)
