"""Measurements of time and memory.

    python -m benchmarks              # all, with sizes that take some minutes
    python -m benchmarks step --help
    python -m benchmarks step --patch 1 --samples 8

Each prints a table and writes it, with sizes, versions and date, as JSON.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

from benchmarks import measure
from benchmarks.measure import compare, tell

#: Slots × positions that the reference is given at once, if not asked otherwise.
AT_ONCE = 60_000
#: Free memory with which the reference computes a whole batch, if not asked otherwise.
WHOLE = 16e9
#: Measurements that need a real study, and are not part of a run of all.
OF_STUDIES = ("accuracy", "across", "curves", "encoders", "sharing", "trust")
#: Measurements that are for other machines.
ELSEWHERE = ("device",)


@click.group(invoke_without_command=True, help=__doc__)
@click.pass_context
def main(context: click.Context) -> None:
    """Run the measurement that is named, or all."""
    if context.invoked_subcommand is None:
        for name, command in main.commands.items():
            if name not in OF_STUDIES + ELSEWHERE:
                context.invoke(command)


Decorator = Callable[[Callable], Callable]


def options(*decorators: Decorator) -> Decorator:
    """Several options, and the one of the file."""
    json = click.option(
        "--json",
        "path",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Where to write the results; else benchmarks/results/NAME.json.",
    )
    return lambda function: reduce(
        lambda f, d: d(f), [json, *decorators[::-1]], function
    )


def size(name: str, default: Any, text: str, **more: Any) -> Decorator:
    """An option with its default shown."""
    return click.option(
        f"--{name}", default=default, show_default=True, help=text, **more
    )


FEATURES = size("features", 1750, "ASVs in the tree.")
ASVS = size("asvs", 256, "ASVs of the richest sample.")
LENGTH = size("length", 150, "Nucleotides of a sequence.")
SHORT = size("short", 0.0, "Share of the sequences that are shorter.")
SEED = size("seed", 0, "Seed of the study.")
BATCH = size("batch", 8, "Samples of a batch.")
PRESET = size("preset", "small", "Preset of the model.")
REPEATS = size("repeats", 3, "Runs of each contender, in turn; medians are shown.")
PATCH = size(
    "patch", (6, 1), "nucleotide_patch; several are measured one by one.", multiple=True
)
SHARE = click.option(
    "--reference-samples",
    "share",
    type=int,
    help="Samples of a batch that the reference computes; seconds are scaled to all "
    f"slots. Else so many that slots times positions stay below {AT_ONCE:,}.",
)


def share_of(share: int | None, sizes: dict[str, Any], patch: int) -> int:
    """Samples of a batch that the reference computes."""
    positions = sizes["asvs"] * -(-sizes["length"] // patch)
    return min(sizes["batch"], share or max(1, AT_ONCE // positions))


@main.command()
@options(FEATURES, ASVS, LENGTH, SHORT, SEED, BATCH, PRESET, PATCH, SHARE, REPEATS)
@click.option(
    "--full/--part",
    default=None,
    help="Whether the reference computes the whole batch (with patch 1 this takes 16 "
    "GB in all) or a part, which is faster for its slots. Else by the free memory.",
)
@click.option("--bf16", is_flag=True, help="Measure mixed_precision bf16, too.")
def step(path, patch, share, repeats, full, bf16, **sizes) -> None:
    """A step of pre-training: time, memory, distinct ASVs, fraction of the peak."""
    sizes["samples"] = sizes["batch"]
    from aam_core.runtime.process_memory import available

    rows, notes, details = [], [], {}
    if full is None:
        full = share is None and available() > WHOLE
    for each in patch:
        model = sizes | {"patch": each}
        part = sizes["batch"] if full else share_of(share, sizes, each)
        contenders = {
            "q2-aam": ("contenders.Step", model),
            "q2-aam, lean": ("contenders.Step", model | {"lean": True}),
            "beyond the nucleotides": ("contenders.Step", model | {"known": True}),
            "matrix products": (
                "contenders.MatrixProducts",
                layer_shape(sizes, each),
            ),
            "reference": ("contenders.PlainStep", model | {"share": part}),
        }
        if bf16:
            lower = model | {"precision": "bf16"}
            contenders["q2-aam, bf16"] = ("contenders.Step", lower)
        found = compare(contenders, repeats)
        rows += step_rows(found, each)
        notes += step_notes(found, each, part, sizes["batch"])
        details[f"patch {each}"] = found
    notes.append(
        "lean: gradient_checkpointing. Memory: peak of the whole process, libraries "
        "included. GFLOP/s: what the model needs once, without what is recomputed."
    )
    tell("step", sizes | {"patch": patch}, rows, notes, path=path, details=details)


def layer_shape(sizes: dict[str, Any], patch: int) -> dict[str, int]:
    """Rows and width of the matrix products of a layer, for one chunk of ASVs."""
    from aam_core.config import PRESETS, DeviceOptions

    chunk = min(DeviceOptions().asv_chunk_size, sizes["batch"] * sizes["asvs"])
    return {
        "rows": chunk * -(-sizes["length"] // patch),
        "width": PRESETS[sizes["preset"]]["embedding_dim"],
    }


def step_rows(found: dict[str, dict], patch: int) -> list[dict[str, Any]]:
    """One row for each contender that does whole steps, and the machine's peak."""
    peak = found["matrix products"]["peak"]
    ours, plain = found["q2-aam"], found["reference"]
    scale = ours["slots"] / plain["slots"]
    rows = []
    for name in ("q2-aam", "q2-aam, lean", "q2-aam, bf16", "reference"):
        if name not in found:
            continue
        one = found[name]
        seconds = one["seconds"] * (scale if name == "reference" else 1)
        row = {"patch": patch, "": name, "seconds": seconds}
        row["× faster"] = plain["seconds"] * scale / seconds
        row["memory"] = one["peak_bytes"]
        row["memory of the step"] = one["rise_bytes"]
        rest = found.get("beyond the nucleotides")
        if rest and name != "reference":
            row["GFLOP/s"] = rest["flops"] / seconds / 1e9
            row["fraction of the matrix peak"] = row["GFLOP/s"] * 1e9 / peak
        if rest and name == "q2-aam":
            row["fraction of the nucleotides"] = 1 - rest["seconds"] / seconds
        rows.append(row)
    rows.append({"patch": patch, "": "matrix products", "GFLOP/s": peak / 1e9})
    return rows


def step_notes(found: dict[str, dict], patch: int, part: int, batch: int) -> list[str]:
    """What was measured, and what was scaled."""
    ours, plain = found["q2-aam"], found["reference"]
    note = (
        f"patch {patch}: {ours['distinct']:,} distinct of {ours['present']:,} ASVs in "
        f"{ours['slots']:,} slots."
    )
    if part < batch:
        note += (
            f" The reference computed {part} of {batch} samples ({plain['slots']:,} "
            f"slots) in {plain['seconds']:.3g} s; its seconds are scaled to all slots, "
            "its memory is that of the part."
        )
    return [note]


@main.command(name="train")
@options(
    size("samples", 40, "Samples; a fifth is for validation, which is not measured."),
    *(FEATURES, ASVS, LENGTH, SHORT, SEED, BATCH, PRESET, PATCH, SHARE, REPEATS),
)
@size("fine-tune", (6,), "Patches for which fine-tuning is measured.", multiple=True)
def train_(path, patch, share, repeats, fine_tune, **sizes) -> None:
    """An epoch of training, with a frozen encoder and without."""
    rows, details = [], {}
    for each in patch:
        model = sizes | {"patch": each}
        part = share_of(share, sizes, each)
        for frozen in [True, False] if each in fine_tune else [True]:
            kind = model | {"frozen": frozen}
            found = compare(
                {
                    "q2-aam": ("contenders.Epoch", kind),
                    "reference": ("contenders.PlainEpoch", kind | {"share": part}),
                },
                repeats,
            )
            ours, plain = found["q2-aam"], found["reference"]
            scaled = plain["seconds"] * ours["slots"] / plain["slots"]
            row = {"patch": each, "training": "frozen" if frozen else "fine-tuning"}
            row |= {"steps": ours["steps"], "distinct": ours["distinct"]}
            row |= {"slots": ours["slots"], "q2-aam s": ours["seconds"]}
            row |= {"reference s": scaled, "× faster": scaled / ours["seconds"]}
            row |= {"reference slots": plain["slots"], "memory": ours["peak_bytes"]}
            rows.append(row)
            details[f"patch {each}, frozen {frozen}"] = found
    note = (
        "Seconds of an epoch after the first, without validation. The reference "
        "computed the slots named, and is scaled to all slots."
    )
    tell("train", sizes | {"patch": patch}, rows, [note], path=path, details=details)


@main.command(name="predict")
@options(
    size("samples", 64, "Samples predicted."),
    *(FEATURES, ASVS, LENGTH, SHORT, SEED, BATCH, PRESET, PATCH, SHARE, REPEATS),
)
def predict_(path, patch, share, repeats, **sizes) -> None:
    """Samples predicted per second."""
    rows, details = [], {}
    for each in patch:
        model = sizes | {"patch": each}
        part = model | {"share": share_of(share, sizes, each)}
        with tempfile.TemporaryDirectory() as folder:
            ours = model | {"folder": folder}
            found = compare(
                {
                    "q2-aam": ("contenders.Prediction", ours),
                    "reference": ("contenders.PlainPrediction", part),
                },
                repeats,
            )
        speed = {name: one["samples"] / one["seconds"] for name, one in found.items()}
        ours, plain = found["q2-aam"], found["reference"]
        row = {"patch": each, "samples": ours["samples"], "distinct": ours["distinct"]}
        row |= {f"{name} samples/s": value for name, value in speed.items()}
        row |= {"× faster": speed["q2-aam"] / speed["reference"]}
        row |= {"reference samples": plain["samples"]}
        rows.append(row | {"memory": ours["peak_bytes"]})
        details[f"patch {each}"] = found
    note = (
        "q2-aam: the whole of `predict` after the files are read; reference: no more "
    )
    note += "than the model, on the samples named."
    tell("predict", sizes | {"patch": patch}, rows, [note], path=path, details=details)


@main.command()
@options(ASVS, BATCH, SEED, PRESET, REPEATS)
@size("tips", (10_000, 50_000, 200_000), "Tips of the tree.", multiple=True)
@size("metric", ("unweighted", "weighted"), "unifrac_metric.", multiple=True)
def unifrac(path, tips, metric, repeats, **sizes) -> None:
    """UniFrac of a batch, at several sizes of the tree."""
    part = {name: sizes[name] for name in ("asvs", "seed")} | {"samples": 256}
    model = sizes | {"samples": sizes["batch"], "features": 1750}
    one = compare({"": ("contenders.Step", model)}, repeats)[""]
    rows = []
    for number in tips:
        more = part | {"features": number, "batch": sizes["batch"], "calls": 20}
        found = compare(
            {name: ("datapath.UniFrac", more | {"metric": name}) for name in metric},
            repeats,
        )
        for name, result in found.items():
            seconds = result["seconds"] / result["calls"]
            row = {"tips": number, "metric": name, "ms per batch": 1000 * seconds}
            rows.append(row | {"fraction of a step": seconds / one["seconds"]})
    note = f"A step of pre-training on such a batch takes {one['seconds']:.3g} s."
    tell("unifrac", sizes | {"tips": tips}, rows, [note], path=path)


@main.command()
@options(ASVS, FEATURES, BATCH, SEED, PRESET, REPEATS)
@size("samples", (100, 1_000, 10_000), "Samples of the study.", multiple=True)
def pipeline(path, samples, repeats, **sizes) -> None:
    """Making a batch: ASVs, masks and UniFrac."""
    rows = []
    for number in samples:
        more = sizes | {"samples": number, "calls": 20}
        found = compare(
            {
                "all": ("datapath.Batches", more | {"unifrac": True}),
                "no UniFrac": ("datapath.Batches", more | {"unifrac": False}),
            },
            repeats,
        )
        ms = {name: 1000 * f["seconds"] / f["calls"] for name, f in found.items()}
        row = {"samples": number, "ms per batch": ms["all"]}
        rows.append(row | {"without UniFrac": ms["no UniFrac"]})
    tell("pipeline", sizes | {"samples": samples}, rows, path=path)


@main.command()
@options(REPEATS)
def startup(path, repeats) -> None:
    """Commands that only show their help, and imports."""
    python = sys.executable
    commands = {
        "python -c pass": [python, "-c", "pass"],
        "import torch": [python, "-c", "import torch"],
        "import aam_core.commands.pretrain": [
            python,
            "-c",
            "import aam_core.commands.pretrain",
        ],
        "python -m aam_core --help": [python, "-m", "aam_core", "--help"],
    }
    qiime = Path(python).with_name("qiime")
    qiime = str(qiime) if qiime.exists() else shutil.which("qiime")
    if qiime is not None:
        plugin = "import q2_aam.plugin_setup"
        commands |= {plugin: [python, "-c", plugin]}
        commands |= {"qiime aam --help": [python, qiime, "aam", "--help"]}
    found = compare(
        {name: ("processes.Command", {"words": w}) for name, w in commands.items()},
        repeats,
    )
    rows = [{"": name, "seconds": one["seconds"]} for name, one in found.items()]
    tell("startup", {"repeats": repeats}, rows, path=path)


@main.command()
@options(
    size("samples", 5_000, "Samples."),
    size("features", 20_000, "ASVs in the tree."),
    size("asvs", 140, "ASVs of the richest sample."),
    *(LENGTH, SEED),
)
@size("depth", 5_000, "rarefy_depth.")
@size("batch", 8, "Samples of a batch.")
@size("batches", 500, "Batches made.")
@click.option("--predict", "predicted", is_flag=True, help="Predict all samples, too.")
@size("width", 8, "embedding_dim of the model that predicts.")
@size("layers", 1, "attention_layers of the model that predicts.")
@size("patch", 50, "nucleotide_patch of the model that predicts.")
def scale(
    path, depth, batch, batches, predicted, width, layers, patch, **sizes
) -> None:
    """The way of the data of pre-training, from files to batches, and of prediction."""
    way = {"depth": depth, "batch": batch}
    model = {"embedding_dim": width, "attention_layers": layers}
    model |= {"attention_heads": 1, "nucleotide_patch": patch}
    with tempfile.TemporaryDirectory() as folder:
        written = once("processes.Write", folder=folder, **sizes)
        read = once("datapath.DataPath", folder=folder, calls=batches, **way)
        found = {"written": written, "pretrain": read}
        if predicted:
            more = way | model | {"length": sizes["length"]}
            found["predict"] = once("datapath.PredictPath", folder=folder, **more)
    rows = [{"phase": "generate and write"} | memory_of(written)]
    rows += [row for one in list(found.values())[1:] for row in one["phases"]]
    speed = read["batches"] / read["phases"][-1]["seconds"]
    notes = [
        f"{written['nonzeros']:,} non-zeros; {read['samples']:,} samples and "
        f"{read['features']:,} ASVs are left at depth {depth:,}. "
        f"{speed:,.0f} batches/s, of {read['distinct ASVs of a batch']:,.0f} distinct "
        f"ASVs on average; {read['ASVs of a sample']:,.0f} in a sample."
    ]
    if predicted:
        speed = found["predict"]["samples"] / found["predict"]["seconds"]
        notes.append(f"{speed:,.0f} samples/s predicted, files included.")
        sizes |= model
    notes.append("Each of generating, pre-training and predicting is one process.")
    sizes |= way | {"batches": batches}
    tell("scale", sizes, rows, notes, path=path, details=found)


def once(make: str, **sizes: Any) -> dict[str, Any]:
    """What a contender that runs once found."""
    contender = measure.Contender(make, **sizes)
    contender.run()
    return contender.close()


def memory_of(found: dict[str, Any]) -> dict[str, Any]:
    """Seconds and memory of a contender, as those of a phase."""
    return {"seconds": found["seconds"], "memory so far": found["peak_bytes"]}


@main.command()
@options(LENGTH, size("asvs", 100, "ASVs of a sample."))
@click.option("--check", is_flag=True, help="Let PyTorch count, too.")
def flops(path, length, asvs, check) -> None:
    """Floating-point operations of each preset, by formula."""
    from benchmarks import flops as module

    rows = module.table(length, asvs, check)
    tell("flops", {"length": length, "asvs": asvs}, rows, path=path)


@main.command()
@options(FEATURES, ASVS, LENGTH, SHORT, SEED, BATCH)
@size("device", "cuda", "cuda, mps or cpu.")
@size("preset", ("small", "medium", "large"), "Presets.", multiple=True)
@size("precision", ("bf16", "none"), "mixed_precision; none is fp32.", multiple=True)
@size("steps", 10, "Steps that are timed, after two others.")
@size("product", 8192, "Rows of the square matrices that give the peak.")
@click.option("--nominal", type=float, help="TFLOP/s that the device is sold with.")
@click.option("--lean", is_flag=True, help="With gradient_checkpointing.")
def device(path, device, preset, precision, **sizes) -> None:
    """Steps of pre-training on a GPU: time, memory, fraction of its peak."""
    from benchmarks import devices as module

    sizes["samples"] = sizes["batch"]
    rows, notes = module.table(device, preset, precision, **sizes)
    tell("device", sizes, rows, notes, path=path)


@main.command()
@options(size("samples", 80, "Samples of a study."))
@size("seed", tuple(range(5)), "Seeds of studies and runs.", multiple=True)
@size("train-epochs", 40, "Epochs of training.")
@size("pretrain-epochs", 10, "Epochs of pre-training.")
def start(path, seed, samples, **epochs) -> None:
    """What the start of the weights gains in training and pre-training."""
    from benchmarks import start as module

    by_command = {name.removesuffix("_epochs"): n for name, n in epochs.items()}
    rows, notes = module.table(seed, samples, by_command)
    tell("start", {"samples": samples} | epochs, rows, notes, path=path)


@main.command()
@options(
    size("samples", 100, "Samples of a study."),
    size("features", 60, "ASVs of a study, about half of which a sample has."),
)
@size("seed", tuple(range(3)), "Seeds of studies and runs.", multiple=True)
@size("effort", "quick", "effort of training.")
@size("max-samples", 50, "Samples that are explained.")
@size("draws", 10, "draws of explain.")
def explain(path, seed, samples, features, effort, **options) -> None:
    """Whether explanations find planted ASVs, and how stable they are."""
    from benchmarks import explanation as module

    given = (seed, samples, features, {"effort": effort}, options)
    rows = module.table(*given)
    sizes = {"samples": samples, "features": features, "effort": effort} | options
    tell("explain", sizes, rows, path=path)


def of_study(function: Callable) -> click.Command:
    """A command whose words another module reads."""
    settings = {"ignore_unknown_options": True}
    words = click.argument("words", nargs=-1, type=click.UNPROCESSED)
    command = main.command(context_settings=settings, add_help_option=False)
    return command(words(function))


@of_study
def accuracy(words) -> None:
    """Accuracy on studies beside others; not part of a run of all."""
    from benchmarks.accuracy import command as module

    module.main(words, prog_name="python -m benchmarks accuracy")


@of_study
def curves(words) -> None:
    """Errors with fewer labelled samples; not part of a run of all."""
    from benchmarks.accuracy import curves as module

    module.main(words, prog_name="python -m benchmarks curves")


@of_study
def across(words) -> None:
    """Errors at a place or in a study that is left out; not part of a run of all."""
    from benchmarks.accuracy import across as module

    module.main(words, prog_name="python -m benchmarks across")


@of_study
def trust(words) -> None:
    """Coverage of intervals and calibration; not part of a run of all."""
    from benchmarks.accuracy import trust as module

    module.main(words, prog_name="python -m benchmarks trust")


@of_study
def encoders(words) -> None:
    """Settings of the encoder on a study; not part of a run of all."""
    from benchmarks import encoders as module

    module.main(words, prog_name="python -m benchmarks encoders")


@of_study
def sharing(words) -> None:
    """Distinct ASVs of batches of a study; not part of a run of all."""
    from benchmarks import sharing as module

    module.main(words, prog_name="python -m benchmarks sharing")


if __name__ == "__main__":
    main()
