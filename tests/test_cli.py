"""The command line, mostly as real processes: output, exit codes, errors, terminals, pipes."""

from __future__ import annotations

import contextlib
import csv
import gc
import io
import json
import os
import re
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import shapecalc.__main__ as main_module
from shapecalc.__main__ import main
from shapecalc.diagnostics import CODES

ROOT = Path(__file__).parents[1]
SPECS = ROOT / "specs"
APPAREL = str(SPECS / "apparel.yaml")
LENET = str(SPECS / "lenet5.yaml")
HEAVY = ("torch", "torchvision", "numpy", "matplotlib", "rich")
SMALL = "input: [3, 32, 32]\nlayers:\n"


def environment(**extra: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "TERM")}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **extra}


def shapecalc(*words: str, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "shapecalc", *words],
        cwd=cwd,
        env=environment(**extra),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert "\033" not in done.stdout + done.stderr
    return done


def python(code: str, *words: str, cwd: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes `main` fit to be called in this process."""
    monkeypatch.setenv("PYDANTIC_DISABLE_PLUGINS", "1")
    monkeypatch.setenv("COLUMNS", "100")
    yield
    gc.enable()


def called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `main` in this process."""
    monkeypatch.setattr(sys, "argv", ["shapecalc", *words])
    code: object = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code or 0
    assert isinstance(code, int)
    return code, *capsys.readouterr()


class TestSolve:
    TEXT = """\
# our cats
name: cats  # two of them
input: [3, 32, 32]
params: {wide: 8}
layers:
  - conv: {out_channels: 8, kernel_size: 3}   # edges
  - max_pool: 2
  - flatten

  - linear: 2
"""

    def written(self, folder: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], str]:
        path = folder / "cats.yaml"
        path.write_text(self.TEXT)
        return shapecalc("solve", "cats.yaml", *words, cwd=folder), path.read_text()

    def test_without_write_the_file_stays(self, tmp_path: Path) -> None:
        done, text = self.written(tmp_path, "--in-features", "1352")
        assert done.returncode == 0
        assert done.stdout.startswith("cats: in-features 1800, wanted 1352\n 1  layers.0: ")
        assert text == self.TEXT

    @pytest.mark.parametrize("write", [["--write"], ["--write", "1"], ["--write=1"]])
    def test_the_first_is_put_into_the_file_and_nothing_else_changes(
        self, write: list[str], tmp_path: Path
    ) -> None:
        done, text = self.written(
            tmp_path, "--in-features", "1352", "--vary", "layers.0.kernel_size", *write
        )
        assert (done.returncode, done.stderr) == (
            0,
            "written to cats.yaml:\n  layers.0: kernel_size 3 -> 7\n",
        )
        assert text == self.TEXT.replace("kernel_size: 3}", "kernel_size: 7}")
        shown = shapecalc("show", "cats.yaml", cwd=tmp_path).stdout
        assert shown.endswith("8 x 13 x 13 = 1352\n")

    def test_another_is_put_into_the_file_by_its_number(self, tmp_path: Path) -> None:
        done, text = self.written(tmp_path, "--output", "8x13x13", "--write", "2")
        (second,) = (line for line in done.stdout.splitlines() if line.startswith(" 2 "))
        assert text != self.TEXT
        assert second.split("  ")[1].strip() in done.stderr
        shown = json.loads(shapecalc("show", "--format", "json", "cats.yaml", cwd=tmp_path).stdout)
        assert shown["layers"][1]["output_shape"] == [8, 13, 13]

    def test_a_number_that_no_solution_has(self, tmp_path: Path) -> None:
        done, text = self.written(
            *(tmp_path, "--in-features", "1352", "--vary", "layers.0.kernel_size", "--write", "9")
        )
        assert done.returncode == 2
        assert done.stderr == "error: --write 9: there is no solution of that number\n"
        assert text == self.TEXT

    def test_no_solution_writes_nothing(self, tmp_path: Path) -> None:
        done, text = self.written(
            *(tmp_path, "--in-features", "1351", "--vary", "layers.0.kernel_size", "--write")
        )
        assert done.returncode == 1
        assert "no solution was found" in done.stdout
        assert text == self.TEXT

    def test_a_file_that_cannot_be_written_is_left_whole(self, tmp_path: Path) -> None:
        """Where --set stands over what is in the file, writing would not reach the goal."""
        done, text = self.written(
            *(tmp_path, "--in-features", "1352", "--vary", "layers.0.kernel_size", "--write"),
            *("--set", "layers.0.conv.kernel_size=5"),
        )
        assert done.returncode == 1
        assert "cats.yaml is left as it was" in done.stderr
        assert text == self.TEXT

    def test_a_variant_is_changed_where_it_is_written(self, tmp_path: Path) -> None:
        path = tmp_path / "cats.yaml"
        text = self.TEXT.replace("{wide: 8}", "{wide: 8}\nvariants: {large: {wide: 32}}")
        path.write_text(text.replace("out_channels: 8", "out_channels: '${wide}'"))
        done = shapecalc(
            *("solve", "cats.yaml@large", "--output", "16x15x15", "--vary", "params.wide"),
            *("--write",),
            cwd=tmp_path,
        )
        assert (done.returncode, done.stderr) == (
            0,
            "written to cats.yaml:\n  params.wide: 32 -> 16\n",
        )
        assert "params: {wide: 8}\nvariants: {large: {wide: 16}}\n" in path.read_text()


class TestShow:
    def test_the_table_ends_with_the_in_features(self, tmp_path: Path) -> None:
        done = shapecalc("show", APPAREL, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        *_, totals, features = done.stdout.splitlines()
        assert totals.startswith("apparel: 729,279 params, 2,297,339,616 MACs")
        assert features.endswith("128 x 11 x 11 = 15488")

    def test_explain(self, tmp_path: Path) -> None:
        done = shapecalc("show", "--explain", APPAREL, cwd=tmp_path)
        assert "(512 - 3 + 2*0)/1 + 1 = 510\n" in done.stdout
        assert " 508 / 2 = 254\n" in done.stdout

    def test_torch_and_the_other_large_packages_are_left_out(self, tmp_path: Path) -> None:
        code = (
            "import sys\nfrom shapecalc.__main__ import main\nmain()\n"
            "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stdout)"
        )
        *_, modules = python(code, "show", APPAREL, cwd=tmp_path).splitlines()
        assert "shapecalc" in modules.split()
        assert not {*HEAVY, "typer", "click"} & set(modules.split())

    @pytest.mark.parametrize(
        "words",
        [
            ["check"],
            ["memory"],
            ["memory", "--device", "t4"],
            ["sizes"],
            ["show", "--no-such-option"],
        ],
    )
    def test_neither_do_the_commands_that_typer_reads_import_torch(
        self, words: list[str], tmp_path: Path
    ) -> None:
        code = (
            "import sys\nfrom shapecalc.__main__ import main\n"
            "try: main()\nexcept SystemExit: pass\n"
            "print(*{name.partition('.')[0] for name in sys.modules})"
        )
        *_, modules = python(code, *words, str(SPECS / "lenet5.yaml"), cwd=tmp_path).splitlines()
        assert not {"torch", "torchvision", "numpy", "matplotlib"} & set(modules.split())

    @pytest.mark.parametrize(
        "words",
        [
            [],
            ["--explain"],
            ["--format", "json"],
            ["--format=csv"],
            ["--format", "markdown", "--explain"],
            ["--format", "latex"],
            ["--format", "json", "--format", "table"],
            ["--set", "params.classes=7", "--set=name=seven"],
            ["--input", "3x300x200"],
            ["--input=1x2x3x4", "--format", "json"],
            ["--set", "params.clases=7"],
            ["--set", "classes"],
            ["--set", "--explain"],
            ["--input", "3x"],
            ["--input", ""],
            ["--format", "xml"],
            ["--format"],
            ["--explain=1"],
            ["--exp"],
            ["another.yaml"],
            ["--help"],
        ],
        ids=" ".join,
    )
    @pytest.mark.usefixtures("inside")
    def test_the_quick_way_and_typer_agree(
        self,
        words: list[str],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        quick = called(monkeypatch, capsys, "show", APPAREL, *words)
        monkeypatch.setattr(main_module, "_show", lambda _: False)
        assert called(monkeypatch, capsys, "show", APPAREL, *words) == quick
        assert "Traceback" not in quick[2]
        assert bool(quick[0]) == bool(quick[2])

    def test_json(self, tmp_path: Path) -> None:
        done = shapecalc("show", APPAREL, "--format", "json", cwd=tmp_path)
        data = json.loads(done.stdout)
        assert data["totals"]["params"] == 729_279
        assert data["first_linear_in_features"] == 15488
        assert len(data["layers"]) == 18

    def test_csv(self, tmp_path: Path) -> None:
        done = shapecalc("show", APPAREL, "--format", "csv", cwd=tmp_path)
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        assert sum(int(row["params"]) for row in rows) == 729_279

    def test_overrides(self, tmp_path: Path) -> None:
        done = shapecalc(
            *("show", "--input", "3x543x512", "--set", "params.classes=3", APPAREL), cwd=tmp_path
        )
        assert "linear(15488, 3)" in done.stdout
        assert "3x543x512" in done.stdout

    @pytest.mark.parametrize("columns", ["40", "60", "80"])
    def test_narrow_terminals(self, columns: str, tmp_path: Path) -> None:
        done = shapecalc("show", str(SPECS / "zoo" / "alexnet.yaml"), cwd=tmp_path, COLUMNS=columns)
        assert max(map(len, done.stdout.splitlines())) <= int(columns)

    @pytest.mark.parametrize("columns", ["0", "-1", "x", "²", "9" * 5000])
    def test_a_senseless_width_is_none(self, columns: str, tmp_path: Path) -> None:
        done = shapecalc("show", APPAREL, cwd=tmp_path, COLUMNS=columns)
        assert "(too narrow" not in done.stdout

    def test_letters_that_the_output_cannot_write(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(f"name: größe\n{SMALL}  - relu\n", encoding="utf-8")
        done = shapecalc("show", "a.yaml", cwd=tmp_path, PYTHONIOENCODING="ascii")
        assert done.returncode == 0
        assert r"gr\xf6\xdfe: 0 params" in done.stdout

    def test_verify(self, tmp_path: Path) -> None:
        lenet = str(SPECS / "lenet5.yaml")
        done = shapecalc("show", lenet, "--verify", "--format", "json", cwd=tmp_path)
        assert done.returncode == 0
        json.loads(done.stdout)
        assert re.fullmatch(
            r"verified: 12 rows by torch \S+, 61,706 params by torchinfo \S+, "
            r"416,520 MACs by FlopCounterMode\n",
            done.stderr,
        )


class TestErrors:
    @pytest.mark.parametrize(
        ("layers", "code", "expected"),
        [
            (
                "  - max_pool: 8\n  - max_pool: 8\n",
                1,
                """\
error[E203]: max_pool needs an input of at least 8x8, but gets 4x4
 --> small.yaml:4:5 (layers.1)
  |
4 |   - max_pool: 8
  |     ^^^^^^^^^^^ input is [3, 4, 4]
  |
  = help: the smallest input for this spec is 64x64 (now 32x32); or the largest kernel_size that fits here is 4
""",  # noqa: E501
            ),
            (
                "  - ReLU\n  - linear: 0\n",
                1,
                """\
error[E105]: there is no kind of layer called 'ReLU'
 --> small.yaml:3:5
  |
3 |   - ReLU
  |     ^^^^
  |
  = help: did you mean relu?

error[E106]: linear needs at least 1 for out_features, not 0
 --> small.yaml:4:5
  |
4 |   - linear: 0
  |     ^^^^^^^^^
  |
  = help: write 1, the least that it can be
""",
            ),
            (
                "  - relu: {\n",
                1,
                None,
            ),
        ],
    )
    def test_faults_of_a_spec(
        self, layers: str, code: int, expected: str | None, tmp_path: Path
    ) -> None:
        (tmp_path / "small.yaml").write_text(SMALL + layers)
        done = shapecalc("show", "small.yaml", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.startswith("error[E")
        if expected is not None:
            assert done.stderr == expected
        for command in ("check", "sizes"):
            again = shapecalc(command, "small.yaml", cwd=tmp_path)
            assert (again.returncode, again.stdout, again.stderr) == (1, "", done.stderr)

    @pytest.mark.parametrize(
        ("words", "code", "error"),
        [
            (["show", "a/b"], 1, "error[E100]: a/b does not exist\n"),
            (["show", "."], 1, "error[E100]: . is a directory, not a spec\n"),
            (
                ["show", "fine.yml"],
                1,
                "error[E100]: fine.yml does not exist\n  = help: did you mean fine.yaml?\n",
            ),
            (
                ["show", "fine.yaml", "--set", "classes"],
                2,
                "error: --set takes KEY=VALUE, such as train.epochs=3, not 'classes'\n",
            ),
            (
                ["show", "fine.yaml", "--set", "class.a=3"],
                1,
                "error[E109]: --set class.a: a spec has no key 'class'\n"
                "  = help: a spec takes name, input, params, variants, blocks, layers, max_layers, "
                "allow, train\n",
            ),
            (
                ["show", "fine.yaml", "--set", "params.classes=3"],
                1,
                "error[E109]: --set params.classes: params has no param 'classes'\n"
                "  = help: params takes none\n",
            ),
            *[
                (
                    [command, "fine.yaml", "--input", text],
                    1,
                    f"error[E109]: --input {text} is not a shape\n"
                    "  = help: write the sizes of one sample with x between them, "
                    "such as 3x224x224\n",
                )
                for command, text in [("show", "3x"), ("check", "3,8,8"), ("sizes", "1x2x3x4x5")]
            ],
        ],
    )
    def test_wrong_words(self, words: list[str], code: int, error: str, tmp_path: Path) -> None:
        (tmp_path / "fine.yaml").write_text(f"{SMALL}  - relu\n")
        done = shapecalc(*words, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (code, "", error)

    @pytest.mark.parametrize(
        "words",
        [[], ["shw"], ["show"], ["show", "a.yaml", "--format", "xml"], ["check", "--max-params=x"]],
        ids=" ".join,
    )
    def test_wrong_usage(self, words: list[str], tmp_path: Path) -> None:
        done = shapecalc(*words, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("Usage: ")

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root reads everything")
    def test_no_permission(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(SMALL)
        (tmp_path / "a.yaml").chmod(0)
        done = shapecalc("show", "a.yaml", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "error[E100]: a.yaml cannot be read: permission denied\n"

    def test_the_size_that_is_told_works(self, tmp_path: Path) -> None:
        done = shapecalc("show", APPAREL, "--input", "3x100x100", cwd=tmp_path)
        found = re.search(r"the smallest input for this spec is (\d+x\d+) ", done.stderr)
        assert found
        assert found[1] == "192x192"
        assert shapecalc("show", APPAREL, "--input", f"3x{found[1]}", cwd=tmp_path).returncode == 0

    def test_a_long_line_in_a_narrow_terminal(self, tmp_path: Path) -> None:
        line = f"  - conv: {{name: {'a' * 300}, out_channels: 8, kernel_size: 3, stide: 2}}\n"
        (tmp_path / "a.yaml").write_text(SMALL + line)
        done = shapecalc("show", "a.yaml", cwd=tmp_path, COLUMNS="60")
        lines = done.stderr.splitlines()
        assert max(map(len, lines)) <= 60
        assert lines[3][lines[4].index("^") :].startswith("stide")


class TestCheck:
    def test_specs_that_are_fine(self, tmp_path: Path) -> None:
        fine = ("lenet5", "unet", "resnet9")
        done = shapecalc("check", *(f"{SPECS}/{name}.yaml" for name in fine), cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "all 3 specs are fine\n"
        assert shapecalc("check", LENET, "--strict", cwd=tmp_path).stdout == "the spec is fine\n"

    def test_no_shipped_spec_has_an_error(self, tmp_path: Path) -> None:
        done = shapecalc("check", *sorted(map(str, SPECS.rglob("*.yaml"))), cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, "no errors, 12 lints\n")
        heads = [line[:14] for line in done.stderr.splitlines() if line and line[0] in "ew"]
        assert Counter(heads) == {
            "warning[W101]:": 8,
            "warning[W103]:": 1,
            "warning[W104]:": 1,
            "warning[W108]:": 2,
        }

    def test_lints(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(f"{SMALL}  - identity\n")
        done = shapecalc("check", "a.yaml", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, "no errors, 1 lint\n")
        assert done.stderr == (
            "warning[W114]: identity has no effect: an identity gives out what it gets\n"
            " --> a.yaml:3:5 (layers.0)\n"
            "  |\n"
            "3 |   - identity\n"
            "  |     ^^^^^^^^\n"
            "  |\n"
            "  = help: remove it\n"
        )
        strict = shapecalc("check", "a.yaml", "--strict", cwd=tmp_path)
        assert (strict.returncode, strict.stdout, strict.stderr) == (1, done.stdout, done.stderr)
        json_ = shapecalc("check", "a.yaml", "--format", "json", cwd=tmp_path)
        (lint,) = json.loads(json_.stdout)
        assert (json_.returncode, lint["severity"], lint["code"]) == (0, "warning", "W114")
        quiet = shapecalc("check", "a.yaml", "--strict", "--set", "allow=W114", cwd=tmp_path)
        assert (quiet.returncode, quiet.stdout) == (0, "the spec is fine\n")

    def test_several_files_with_faults(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(f"{SMALL}  - relu\ntrain: {{epoch: 3}}\n")
        (tmp_path / "b.yaml").write_text(f"{SMALL}  - tanh\n  - max_pool: 40\n")
        done = shapecalc("check", "b.yaml", LENET, "no.yaml", "a.yaml", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        heads = [line for line in done.stderr.splitlines() if line.startswith(("error", " -->"))]
        assert heads == [
            "error[E203]: max_pool needs an input of at least 40x40, but gets 32x32",
            " --> b.yaml:4:5 (layers.1)",
            "error[E100]: no.yaml does not exist",
            "error[E104]: train has no key 'epoch'",
            " --> a.yaml:4:9",
        ]

    def test_json(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(f"{SMALL}  - ReLU\n")
        done = shapecalc("check", "a.yaml", LENET, "--format", "json", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (1, "")
        (found,) = json.loads(done.stdout)
        assert (found["code"], found["file"], found["line"], found["column"]) == (
            *("E105", "a.yaml", 3, 5),
        )
        fine = shapecalc("check", LENET, "--format", "json", cwd=tmp_path)
        assert (fine.returncode, json.loads(fine.stdout)) == (0, [])

    @pytest.mark.parametrize(
        ("words", "code"),
        [
            (["--max-params", "729279", "--max-macs", "2297339616"], 0),
            (["--max-params", "729278"], 1),
            (["--max-macs", "2297339615"], 1),
            (["--expect-in-features", "15488"], 0),
            (["--expect-in-features", "15487"], 1),
            (["--expect-in-features", "15488", "--input", "3x544x544"], 1),
        ],
    )
    @pytest.mark.usefixtures("inside")
    def test_limits(
        self,
        words: list[str],
        code: int,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        status, _, errors = called(monkeypatch, capsys, "check", APPAREL, *words)
        assert status == code
        assert errors.startswith("error[E206]: ") == bool(code)


class TestSizes:
    def test_text(self, tmp_path: Path) -> None:
        done = shapecalc("sizes", APPAREL, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (
            "apparel: smallest input 192x192, today 512x512\n"
            "height or width: works at every size from 192 on\n"
            "  the in-features stay 15488 from 512 to 543\n"
            "  no pixel is dropped at multiples of 32 from 192 on; 512 is one\n"
            "looked at: every size from 1 to 576\n"
            "\n"
            "height = width  in-features\n"
            "192 to 223      128\n"
            "...\n"
            "416 to 447      8192\n"
            "448 to 479      10368\n"
            "480 to 511      12800\n"
            "512 to 543      15488  today\n"
            "544 to 575      18432\n"
            "576 on          21632\n"
        )

    def test_json(self, tmp_path: Path) -> None:
        done = shapecalc("sizes", APPAREL, "--format", "json", cwd=tmp_path)
        data = json.loads(done.stdout)
        assert (data["smallest"], data["in_features"]) == ([192, 192], 15488)
        assert data["axes"]["width"]["same_in_features"] == [512, 543]

    @pytest.mark.usefixtures("inside")
    def test_plot(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lenet = str(Path(APPAREL).with_name("lenet5.yaml"))
        path = tmp_path / "sizes.svg"
        assert called(monkeypatch, capsys, "sizes", lenet, "--plot", str(path))[0] == 0
        assert "in-features of the first linear layer" in path.read_text()
        nowhere = tmp_path / "no" / "sizes.svg"
        code, _, errors = called(monkeypatch, capsys, "sizes", lenet, "--plot", str(nowhere))
        assert (code, errors) == (2, f"error: --plot {nowhere}: No such file or directory\n")


class TestDiff:
    @pytest.mark.usefixtures("inside")
    def test_variants(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        resnet = str(Path(APPAREL).parent / "zoo" / "resnet.yaml")
        words = ("diff", f"{resnet}@resnet18", f"{resnet}@resnet34")
        code, text, errors = called(monkeypatch, capsys, *words)
        assert (code, errors) == (0, "")
        assert "they part at conv(64, 64, kernel_size=3" in text
        code, text, _ = called(monkeypatch, capsys, *words, "--format", "json")
        assert code == 0
        assert json.loads(text)["difference"]["params"] == 10_108_160


@pytest.mark.skipif(os.name == "nt", reason="there are no pseudo-terminals")
class TestTerminal:
    @staticmethod
    def seen(*words: str, cwd: Path, columns: int = 100, **extra: str) -> tuple[int, str]:
        """Exit code and what a terminal of so many columns gets to see."""
        import fcntl
        import pty
        import struct
        import termios

        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        process = subprocess.Popen(
            [sys.executable, "-m", "shapecalc", *words],
            cwd=cwd,
            env=environment(**extra),
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        text = b""
        deadline = time.monotonic() + 60
        with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
            while select.select([ours], [], [], max(0, deadline - time.monotonic()))[0]:
                part = os.read(ours, 65536)
                if not part:
                    break
                text += part
        os.close(ours)
        return process.wait(60), text.decode().replace("\r\n", "\n")

    def test_the_table_is_coloured_and_as_wide_as_the_terminal(self, tmp_path: Path) -> None:
        code, text = self.seen("show", APPAREL, cwd=tmp_path, columns=60)
        assert code == 0
        assert text.startswith("\033[1mlayer")
        plain = re.sub(r"\033\[\d+m", "", text)
        assert max(map(len, plain.splitlines())) <= 60
        assert plain == shapecalc("show", APPAREL, cwd=tmp_path, COLUMNS="60").stdout

    def test_errors_are_coloured(self, tmp_path: Path) -> None:
        code, text = self.seen("show", "no.yaml", cwd=tmp_path)
        assert code == 1
        assert text.startswith("\033[1;31merror[E100]\033[0m: \033[1mno.yaml does not exist")

    @pytest.mark.parametrize("extra", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
    def test_unless_the_user_wants_none(self, extra: Mapping[str, str], tmp_path: Path) -> None:
        for words in (["show", APPAREL], ["check", "no.yaml"]):
            _, text = self.seen(*words, cwd=tmp_path, **extra)
            assert text
            assert "\033" not in text

    def test_errors_are_as_wide_as_the_terminal(self, tmp_path: Path) -> None:
        words = ("check", APPAREL, "--max-params", "1", "--set", f"name={'long ' * 12}")
        _, text = self.seen(*words, cwd=tmp_path, columns=50)
        lines = re.sub(r"\033\[[\d;]+m", "", text).splitlines()
        assert max(len(line) for line in lines if "-->" not in line) <= 50


@pytest.mark.skipif(os.name == "nt", reason="pipes break otherwise there")
@pytest.mark.parametrize(
    "words",
    [
        ["show", APPAREL],
        ["show", APPAREL, "--format", "json"],
        ["show", "--help"],
        ["check", LENET],
        ["sizes", APPAREL],
    ],
    ids=lambda words: " ".join(words[:1] + words[-1:]).replace(str(SPECS), "specs"),
)
def test_a_closed_pipe_is_no_traceback(words: list[str], tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, "-m", "shapecalc", *words],
        cwd=tmp_path,
        env=environment(),
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(theirs)
    assert done.stderr == ""
    assert done.returncode == 1


def test_head(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m shapecalc show "{SPECS}/zoo/vgg.yaml@vgg16" | head -1'
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.startswith("path ")


@pytest.mark.parametrize("command", ["show", "check", "sizes", "diff", "train", "eval", "predict"])
@pytest.mark.usefixtures("inside")
def test_every_command_explains_itself(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, errors = called(monkeypatch, capsys, command, "--help")
    assert (code, errors) == (0, "")
    assert "Usage: " in text


@pytest.mark.parametrize("words", [["--format", "json"], ["--format=json", "--verify"]])
def test_faults_as_json(words: list[str], tmp_path: Path) -> None:
    """`show` on its quick way and on typer's: the same objects that `check` gives."""
    (tmp_path / "small.yaml").write_text(SMALL + "  - linear: 0\n  - ReLU\n")
    done = shapecalc("show", "small.yaml", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    found = json.loads(done.stderr)
    assert [(d["code"], d["line"]) for d in found] == [("E106", 3), ("E105", 4)]
    again = shapecalc("check", "small.yaml", "--format", "json", cwd=tmp_path)
    assert (again.returncode, again.stderr) == (1, "")
    assert json.loads(again.stdout) == found


class TestExplain:
    def test_page(self, tmp_path: Path) -> None:
        done = shapecalc("explain", "e203", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("E203: a window larger than its input\n\nA kernel is")
        assert "    error[E203]: conv needs an input of at least 3x3, but gets 1x1\n" in done.stdout

    def test_json(self, tmp_path: Path) -> None:
        done = shapecalc("explain", "--format", "json", cwd=tmp_path)
        pages = json.loads(done.stdout)
        assert {page["code"] for page in pages} == set(CODES)
        assert all(page["reports"] for page in pages if page["bad"])

    def test_an_unknown_code(self, tmp_path: Path) -> None:
        done = shapecalc("explain", "E999", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error[E109]: there is no code 'E999'\n")
