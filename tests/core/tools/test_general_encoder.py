"""The program that makes the general encoder: regions, communities, files."""

import gzip
import io
import json
import tarfile

import biom
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from skbio import TreeNode

from aam_core.data.phylogeny import Phylogeny
from aam_core.data.sequences import read_fasta
from aam_core.errors import InputError
from aam_core.io.model_folder import check_layout, read_config
from tests import generate
from tools.general_encoder import __main__ as program
from tools.general_encoder.communities import Asv, Biome, Plan, draw_asvs, draw_samples
from tools.general_encoder.reference import Reference
from tools.general_encoder.regions import (
    REGIONS,
    amplicons,
    as_bits,
    find,
    reads,
    reverse_complement,
)

FORWARD, REVERSE = "GTGYCAGC", "GGACTACNVGG"
INSIDE = "ATTTGGCCAATTAACCGGTT"
#: One sequence that both primers fit: Y is C, N is A and V is C.
LEFT, RIGHT = "AAAA" + "GTGCCAGC", "CCGTGTAGTCC" + "TTTT"
SMALL = {"biomes": 2, "clades": 6, "clade_tips": (2, 12), "samples": 12}
PLAN = Plan(**SMALL, most_asvs=20, richness=9)


def test_an_amplicon_lies_between_its_primers():
    assert reverse_complement(REVERSE) == "CCBNGTAGTCC"
    whole = LEFT + INSIDE + RIGHT
    assert amplicons([whole], FORWARD, REVERSE) == [INSIDE]


def test_degenerate_letters_and_mismatches(monkeypatch):
    sequences = [
        "GTGCCAGC",  # Y is C
        "GTGTCAGC",  # or T
        "GTGACAGC",  # and no purine
        "TTTTTTTT",
    ]
    _, misses = find(as_bits(sequences), FORWARD)
    assert misses.tolist() == [0, 0, 1, 6]
    monkeypatch.setattr("tools.general_encoder.regions.MOST_MISMATCHES", 1)
    one, two = LEFT.replace("GTGC", "GTGA"), LEFT.replace("GTGC", "GAGA")
    found = amplicons([s + INSIDE + RIGHT for s in (one, two)], FORWARD, REVERSE)
    assert found == [INSIDE, None]


@pytest.mark.parametrize(
    "sequence",
    [
        LEFT + INSIDE,  # no reverse primer
        RIGHT + INSIDE + LEFT,  # the wrong way round
        LEFT + INSIDE.replace("GG", "GN") + RIGHT,  # ambiguous
        LEFT + RIGHT,  # nothing in between
    ],
)
def test_what_is_no_amplicon(sequence, monkeypatch):
    monkeypatch.setattr("tools.general_encoder.regions.MOST_MISMATCHES", 1)
    assert amplicons([sequence], FORWARD, REVERSE) == [None]


def test_reads_have_one_length_or_a_usual_one():
    between = ["A" * 100, "C" * 100, "G" * 90, "T" * 300, None]
    assert reads(between, 95) == ["A" * 95, "C" * 95, None, None, None]
    assert reads(between, None) == [*between[:3], None, None]


def test_primers_fit_escherichia_coli():
    """Primers against the ends of their regions, as of E. coli's 16S (J01859)."""
    coli = {
        "AGAGTTTGATCMTGGCTCAG": "AGAGTTTGATCATGGCTCAG",
        "CCTACGGGNGGCWGCAG": "CCTACGGGAGGCAGCAG",
        "GTGYCAGCMGCCGCGGTAA": "GTGCCAGCAGCCGCGGTAA",
        "AGGATTAGATACCCTGGTA": "AGGATTAGATACCCTGGTA",
        "ACGCGHNRAACCTTACC": "ACGCGAAGAACCTTACC",
        "TGCTGCCTCCCGTAGGAGT": "ACTCCTACGGGAGGCAGCA",
        "ATTACCGCGGCTGCTGG": "CCAGCAGCCGCGGTAAT",
        "GGACTACNVGGGTWTCTAAT": "ATTAGATACCCTGGTAGTCC",
        "GACTACHVGGGTATCTAATCC": "GGATTAGATACCCTGGTAGTC",
        "CCGYCAATTYMTTTRAGTTT": "AAACTCAAATGAATTGACGG",
        "CRRCACGAGCTGACGAC": "GTCGTCAGCTCGTGTTG",
        "ACGGGCRGTGWGTRCAA": "TTGTACACACCGCCCGT",
    }
    forward = {r.forward for r in REGIONS}
    primers = forward | {r.reverse for r in REGIONS}
    assert primers == set(coli)
    for primer, place in coli.items():
        strand = primer if primer in forward else reverse_complement(primer)
        assert find(as_bits([place]), strand)[1] == [0], primer


def two_clades():
    """Tips 0 to 3 and 4 to 7; the second tip reads like the first, the last not."""
    letters = np.random.default_rng(0).choice(list("ACGT"), (8, 40))
    of_tips = ["".join(row) for row in letters]
    of_tips[1], of_tips[7] = of_tips[0], None
    return of_tips, Biome(np.array([[0, 4], [4, 8]]), np.zeros(2))


def test_asvs_are_those_of_the_clades():
    of_tips, biome = two_clades()
    plan = Plan(clades_seen=(1.0, 1.0), strains=0.0)
    asvs = draw_asvs(of_tips, biome, plan, np.random.default_rng(1))
    assert [(a.tip, a.clade, a.length) for a in asvs] == [
        *[(tip, 0, 0.0) for tip in (0, 2, 3)],
        *[(tip, 1, 0.0) for tip in (4, 5, 6)],
    ]
    assert [a.sequence for a in asvs] == [of_tips[a.tip] for a in asvs]


def test_strains_differ_by_as_much_as_their_branch_says():
    of_tips, biome = two_clades()
    plan = Plan(clades_seen=(1.0, 1.0), strains=1.0, most_substitutions=3)
    asvs = draw_asvs(of_tips, biome, plan, np.random.default_rng(1))
    assert len({a.sequence for a in asvs}) == len(asvs)
    differing = [
        sum(x != y for x, y in zip(a.sequence, of_tips[a.tip], strict=True))
        for a in asvs
    ]
    assert differing == [round(40 * a.length) for a in asvs]
    assert set(differing) == {0, 1, 2, 3}


def test_samples_have_reads_and_the_asked_richness():
    asvs = [Asv(f"s{i}", i, i % 4) for i in range(60)]
    biome = Biome(np.zeros((4, 2), dtype=int), np.zeros(4))
    plan = Plan(samples=200, richness=30, single=0.5, reads=100)
    counts = draw_samples(asvs, biome, plan, np.random.default_rng(0))
    richness = (counts > 0).sum(axis=1)
    assert counts.shape == (200, 60)
    assert (counts.sum(axis=1) == 100 + richness).all()
    assert 70 < (richness == 1).sum() < 130
    assert richness.max() <= 30
    assert richness.max() > 15


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """As the package has it: 24 sequences with all primers, and a tree."""
    generator = np.random.default_rng(3)
    tips = [f"{i}" for i in range(24)]
    tree, _ = generate.random_tree(tips, generator)

    def noise(length):
        return "".join(generator.choice(list("ACGT"), length))

    v4 = REGIONS[0]
    primers = v4.forward, reverse_complement(v4.reverse)
    ends = [primer.translate(str.maketrans("YMNBW", "CAACA")) for primer in primers]
    fasta = "".join(
        f">{name}\n{noise(30)}{ends[0]}{noise(252)}{ends[1]}{noise(30)}\n"
        for name in tips
    )
    # The branch below the root has no length there, and inner nodes have names.
    newick = f"({str(tree).strip().rstrip(';')}'k__Bacteria; p__(x)');\n"
    path = tmp_path_factory.mktemp("archive") / "reference.tar.gz"
    with tarfile.open(path, "w:gz") as files:
        for name, text in (("97_otus.fasta.gz", fasta), ("97_otus.tree.gz", newick)):
            content = gzip.compress(text.encode())
            entry = tarfile.TarInfo(f"package/rep_set/{name}")
            entry.size = len(content)
            files.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def only_v4(monkeypatch):
    monkeypatch.setattr(program, "REGIONS", REGIONS[:3])


def test_an_archive_without_the_tree_is_refused(tmp_path):
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz"):
        pass
    with pytest.raises(InputError, match=r"holds no 97_otus\.fasta\.gz"):
        Reference.read(tmp_path / "other.tar.gz", tmp_path / "out")


def test_asvs_stand_in_the_place_of_their_tips(archive, tmp_path):
    reference = Reference.read(archive, tmp_path)
    made = reference.with_asvs({"3": [("x", 0.0), ("y", 0.02)]})
    before = TreeNode.read([reference.newick], convert_underscores=False)
    after = TreeNode.read([made], convert_underscores=False)
    assert {t.name for t in after.tips()} == {
        *(t.name for t in before.tips() if t.name != "3"),
        *("x", "y"),
    }
    apart = before.find("3").distance(before.find("9"))
    assert after.find("x").distance(after.find("9")) == pytest.approx(apart)
    assert after.find("y").distance(after.find("9")) == pytest.approx(apart + 0.02)


def test_simulated_studies_are_valid_and_seeded(archive, tmp_path, only_v4):
    reference = Reference.read(archive, tmp_path)
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        studies = program.simulate(reference, 4, PLAN, seed)
        program.write(studies, reference, tmp_path / name)
    table = biom.load_table(str(tmp_path / "one" / "table.biom"))
    sequences = read_fasta(tmp_path / "one" / "asvs.fasta")
    assert table.shape == (len(sequences), 4 * PLAN.samples)
    assert set(table.ids("observation")) == set(sequences)
    assert len(set(sequences.values())) == len(sequences)
    tips = set(Phylogeny.read(tmp_path / "one" / "tree.nwk").tip_names)
    assert set(sequences) <= tips
    assert table.matrix_data.min() >= 0
    assert (table.sum("sample") > 0).all()
    assert (table.sum("observation") > 0).all()
    metadata = pd.read_csv(
        tmp_path / "one" / "metadata.tsv", sep="\t", index_col="sample-id"
    )
    assert metadata.index.tolist() == table.ids("sample").tolist()
    lengths = {"V4, 100 nt": 100, "V4, 150 nt": 150, "V4, 250 nt": 250}
    for sample, region in metadata["region"].items():
        shown = table.ids("observation")[table.data(sample, dense=True) > 0]
        assert {len(sequences[name]) for name in shown} == {lengths[region]}
    files = ("asvs.fasta", "tree.nwk", "metadata.tsv")
    one, again, other = (
        [(tmp_path / name / file).read_text() for file in files]
        for name in ("one", "again", "other")
    )
    assert one == again
    assert one[0] != other[0]
    same = biom.load_table(str(tmp_path / "again" / "table.biom"))
    assert (same.matrix_data != table.matrix_data).nnz == 0


def test_the_program_makes_an_encoder(archive, tmp_path, only_v4, monkeypatch):
    monkeypatch.setattr(program, "Plan", lambda: PLAN)
    small = {"embedding-dim": 16, "attention-heads": 2, "attention-layers": 1}
    small |= {"max-bp": 60, "test-size": 0.3}
    monkeypatch.setattr(program, "OPTIONS", program.OPTIONS | small)
    out = tmp_path / "out"
    words = [str(archive), "--out", str(out), "--studies", "3", "--epochs", "1"]
    result = CliRunner().invoke(program.main, words)
    assert result.exit_code == 0, result.output
    check_layout(out / "encoder", "max")
    config = read_config(out / "encoder")
    assert config["architecture"]["max_bp"] == 60
    assert sum(config["split"].values()) == 3 * PLAN.samples
    assert "study000" not in json.dumps(config)
