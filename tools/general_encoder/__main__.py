"""`python -m tools.general_encoder`: simulate studies, and pre-train on them."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from aam_core.io.model_folder import CONFIG, HISTORY, WEIGHTS
from aam_core.io.run_layout import BEST
from tools.general_encoder.communities import (
    Plan,
    choices,
    draw_asvs,
    draw_biome,
    draw_samples,
)
from tools.general_encoder.reference import Reference
from tools.general_encoder.regions import REGIONS, Region, amplicons, reads
from tools.general_encoder.studies import Simulated, write

#: What `aam pretrain` is told.
OPTIONS = {
    "preset": "tiny",
    "max-bp": 480,
    "batch-size": 8,
    "test-size": 0.05,
    "group-column": "study",
    "unifrac-metric": "unweighted",
}


@click.command()
@click.argument("reference", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--studies", type=click.IntRange(3), default=100, show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=3, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=42, show_default=True)
def main(reference: Path, out: Path, studies: int, epochs: int, seed: int) -> None:
    """Make the general encoder from REFERENCE, an archive of qiime-default-reference.

    OUT takes the simulated studies, in `run` what `aam pretrain` writes, and in
    `encoder` the encoder by itself.
    """
    source = Reference.read(reference, out)
    write(simulate(source, studies, Plan(), seed), source, out)
    files = {"table": "table.biom", "sequences": "asvs.fasta", "tree": "tree.nwk"}
    files |= {"metadata": "metadata.tsv", "output-dir": "run"}
    given = {name: out / file for name, file in files.items()} | OPTIONS
    given |= {"epochs": epochs, "seed": seed}
    words = [
        word for name, value in given.items() for word in (f"--{name}", str(value))
    ]
    subprocess.run([sys.executable, "-m", "aam_core", "pretrain", *words], check=True)
    publish(out / "run" / BEST, out / "encoder")


def simulate(
    reference: Reference, studies: int, plan: Plan, seed: int
) -> list[Simulated]:
    """Simulate studies, each of one region and one biome.

    Parameters
    ----------
    reference : Reference
        Sequences and tree.
    studies : int
        How many.
    plan : Plan
        How each is simulated.
    seed : int
        Of all draws.

    Returns
    -------
    list of Simulated
        Sorted by region.
    """
    generator = np.random.default_rng(seed)
    regions = choices([r.weight for r in REGIONS], studies, generator)
    clades = reference.clades(*plan.clade_tips)
    biomes = [draw_biome(clades, plan, generator) for _ in range(plan.biomes)]
    found = []
    for number, place in enumerate(regions):
        region = REGIONS[place]
        if not found or found[-1].region != region.name:
            of_tips = seen_by(region, reference.sequences)
        biome = biomes[generator.integers(plan.biomes)]
        asvs = draw_asvs(of_tips, biome, plan, generator)
        counts_NV = draw_samples(asvs, biome, plan, generator)
        found.append(Simulated.of(f"study{number:03d}", region.name, asvs, counts_NV))
        click.echo(f"study {number}: {region.name}, {len(found[-1].asvs):,} ASVs")
    return found


def seen_by(region: Region, sequences: Sequence[str]) -> list[str | None]:
    """What a region shows of full-length sequences; None where it shows nothing."""
    return reads(amplicons(sequences, region.forward, region.reverse), region.length)


def publish(encoder: Path, folder: Path) -> None:
    """Copy an encoder, with the numbers of simulated samples instead of their ids."""
    folder.mkdir(parents=True)
    for name in (WEIGHTS, HISTORY):
        (folder / name).write_bytes((encoder / name).read_bytes())
    config = json.loads((encoder / CONFIG).read_text())
    config["split"] = {
        name: len(ids) if isinstance(ids, list) else ids
        for name, ids in config["split"].items()
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n")


if __name__ == "__main__":
    main()
