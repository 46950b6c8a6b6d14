"""The counted peak of a training step against torch.cuda.max_memory_allocated, for some networks.

Needs a CUDA device. For each network and precision two steps with fused AdamW run as `shapecalc
train` runs them, but for channels_last; the peak of the second is compared. cuDNN's workspaces are
part of what CUDA reports and not of the count, so cuDNN is asked for no benchmark runs. Prints a
table, writes benchmarks/results/memory_cuda.md, and exits with 1 where a peak differs by more than
10 %. Names as arguments take those alone and write nothing.
"""

import gc
import sys
import warnings
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from zoo import specs  # noqa: E402

from shapecalc import Trace, build, load, trace  # noqa: E402
from shapecalc.analysis.memory import memory  # noqa: E402

BATCH, TOLERANCE = 32, 0.10
NAMES = (
    *("alexnet", "resnet50", "densenet121", "convnext_tiny", "efficientnet_b0"),
    *("mobilenet_v3_large", "regnet_y_3_2gf", "shufflenet_v2_x1_0", "vgg16_bn", "googlenet"),
)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_HEAD = f"""# The peak of a training step on a GPU, counted and measured

`python benchmarks/memory_cuda.py`, with torch {torch.__version__}, on {{device}}; batch {BATCH},
AdamW. MiB as counted from the spec, of torch.cuda.max_memory_allocated, and their ratio.

| network | precision | counted | measured | ratio |
| --- | --- | ---: | ---: | ---: |
"""


def measured(traced: Trace, dtype: torch.dtype) -> int:
    """The most bytes at once in the second of two steps."""
    model = build(traced).train().to("cuda")
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    images = torch.randn(BATCH, *traced.input_shape, device="cuda")
    labels = torch.zeros(BATCH, dtype=torch.int64, device="cuda")
    for _ in range(2):
        torch.cuda.reset_peak_memory_stats()
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            output = model(images)
            loss = nn.functional.cross_entropy(output.float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        del output, loss
    return torch.cuda.max_memory_allocated()


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("this needs a CUDA device")
    warnings.simplefilter("ignore")
    torch.backends.cudnn.benchmark = False
    rows, failed = [], []
    for name in sys.argv[1:] or NAMES:
        traced = trace(load(specs()[name]))
        for precision, dtype in DTYPES.items():
            gc.collect()
            torch.cuda.empty_cache()
            before = torch.cuda.memory_allocated()
            ours = memory(traced, precision=precision, gpu=True).peak(BATCH)
            theirs = measured(traced, dtype) - before
            ratio = ours / theirs
            cells = (name, precision, f"{ours / 2**20:,.1f}", f"{theirs / 2**20:,.1f}")
            rows.append(f"| {' | '.join(cells)} | {ratio:.3f} |")
            failed += [f"{name} in {precision}"] if abs(ratio - 1) > TOLERANCE else []
            print(rows[-1], flush=True)
    if not sys.argv[1:]:
        text = _HEAD.format(device=torch.cuda.get_device_name()) + "\n".join(rows) + "\n"
        (ROOT / "benchmarks/results/memory_cuda.md").write_text(text)
    if failed:
        sys.exit(f"these differ by more than {TOLERANCE:.0%}: {', '.join(failed)}")


if __name__ == "__main__":
    main()
