"""The page of an explanation: what it holds, and that nothing of the data breaks it."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import vl_convert
from scipy.stats import spearmanr
from skbio import TreeNode

from aam_core.data.contributions import LOG_ODDS, UNITS, check_contributions
from aam_core.data.phylogeny import Phylogeny
from aam_core.report import page as pages
from aam_core.report.contributions import (
    BOTH,
    LOWERS,
    RAISES,
    contributions_page,
    name_of,
    overall,
    waterfalls,
)
from aam_core.report.page import rendered

NASTY = "</script><b>.x[0]:\"'&"


@pytest.fixture(scope="module", autouse=True)
def no_bundle():
    """Without the JavaScript, which takes seconds to bundle."""
    patch = pytest.MonkeyPatch()
    patch.setattr(pages, "javascript", lambda: "const bundle = 0;")
    yield
    patch.undo()


def table(targets=("x",), samples=12, features=30, scale=UNITS):
    """ASV 0 raises, ASV 1 lowers, ASV 2 is both, all others matter little."""
    drawn = np.random.default_rng(0)
    weights = np.full(features, 0.01)
    weights[:3] = 3, -2, 0.5
    parts = []
    for target in targets:
        for sample in range(samples):
            abundance = drawn.random(features) * (drawn.random(features) < 0.7)
            value = weights * (abundance - 0.4)
            value[2] = 0.1 * drawn.normal()
            parts.append(
                pd.DataFrame(
                    {
                        "sample": f"{NASTY}{sample}",
                        "feature": [f"{NASTY}f{i}" for i in range(features)],
                        "target": target,
                        "contribution": value,
                        "standard_error": 0.01,
                        "abundance": abundance,
                        "baseline": 10.0,
                        "prediction": 10.0 + value.sum(),
                        "scale": scale,
                    }
                )
            )
    found = pd.concat(parts, ignore_index=True)
    check_contributions(found)
    return found


def data_of(page):
    html = rendered(page)
    return {
        name: json.loads(re.search(rf'id="{name}">(.*?)</script>', html, re.S)[1])
        for name in ("data", "specs")
    }, re.sub(r"<script.*?</script>", "", html, flags=re.S)


@pytest.mark.parametrize(
    ("targets", "scale"),
    [
        (("x",), UNITS),
        (("x", "y"), UNITS),
        ((NASTY, "b"), LOG_ODDS),
        (("a",), LOG_ODDS),
    ],
)
def test_charts_are_valid_and_nothing_is_markup(targets, scale):
    page = contributions_page(table(targets, scale=scale), NASTY, top=7)
    data, text = data_of(page)
    assert "<b>" not in text
    assert len(data["specs"]) == 2
    for figure, spec in zip(page.figures(), data["specs"], strict=True):
        figure.chart.to_dict()  # checks it against the schema
        assert vl_convert.vegalite_to_vega(spec)["marks"]
        for field in re.findall(r'"field": "([^"]+)"', json.dumps(spec)):
            assert not set(field) & set(".[]\\")


def phylogeny(rows, lacking=0):
    """A comb of the features, the last ones left out."""
    names = sorted(rows["feature"].unique())
    tips = [TreeNode(name, 1.0) for name in names[: len(names) - lacking]]
    node = tips[0]
    for tip in tips[1:]:
        node = TreeNode(length=0.5, children=[node, tip])
    return Phylogeny.from_skbio(node)


@pytest.mark.parametrize("targets", [("x",), (NASTY, "b")])
def test_asvs_are_shown_along_the_phylogeny(targets):
    rows = table(targets, scale=UNITS if len(targets) == 1 else LOG_ODDS)
    tree = phylogeny(rows, lacking=4)
    labels = {f"{NASTY}f{i}": f"k__B; g__{NASTY}{i}" for i in range(30)}
    page = contributions_page(rows, NASTY, labels=labels, phylogeny=tree, top=7)
    data, text = data_of(page)
    assert "<b>" not in text
    figure = list(page.figures())[1]
    figure.chart.to_dict()
    assert vl_convert.vegalite_to_vega(data["specs"][1])["marks"]
    assert "4 of 30 ASVs are no tips" in text
    tables = {t.name: t.frame for t in page.tables}
    tips = tables["tips"].reset_index()
    features = tables["features"].reset_index()
    first = features[features["place"] <= 7]
    known = set(map(str, tree.tip_names))
    assert set(tips["feature"]) == set(first["feature"]) & known
    drawn = tables["branches"]
    mine = drawn.dropna(subset="feature").set_index(["target", "feature"])
    own = tips.set_index(["target", "feature"])
    np.testing.assert_allclose(
        mine["importance"].sort_index(), own["importance"].sort_index()
    )
    assert (drawn["clade"].str.startswith("k__B")).all()


def test_a_phylogeny_of_other_asvs_is_told():
    tree = Phylogeny.from_skbio(TreeNode.read(["(a:1,b:1);"]))
    page = contributions_page(table(), "x", phylogeny=tree)
    _, text = data_of(page)
    assert "Of 30 ASVs 0 are tips of the phylogeny" in text
    assert len(list(page.figures())) == 2


def test_the_overview_has_the_asvs_that_matter_most_and_their_direction():
    rows = table()
    found = overall(rows, {}).set_index("feature")
    first = [f"{NASTY}f{i}" for i in range(3)]
    assert list(found.index[:3]) == first
    assert found["direction"].head(3).tolist()[:2] == [RAISES, LOWERS]
    assert {RAISES, LOWERS, BOTH} >= set(found["direction"])
    size = rows["contribution"].abs().groupby(rows["feature"]).sum() / 12
    np.testing.assert_allclose(found["importance"], size[found.index])
    for name in first:
        part = rows[rows["feature"] == name]
        expected = spearmanr(part["abundance"], part["contribution"])[0]
        assert found.loc[name, "correlation"] == pytest.approx(expected)


def test_bars_lead_from_the_baseline_to_the_prediction():
    rows = table(("a", "b"), scale=LOG_ODDS)
    steps = waterfalls(rows, {}, 5)
    own_of = dict(list(rows.groupby(["sample", "target"])))
    for key, part in steps.groupby(["sample", "target"]):
        own = own_of[key]
        bars = part.iloc[1:-1]
        assert len(bars) == 6
        assert part["step"].iloc[-2] == "25 other ASVs"
        assert part["step"].iloc[-1] == f"prediction of {key[1]}"
        assert part["step"].is_unique  # a row of the chart each
        assert (bars["start"].iloc[1:].values == bars["end"].iloc[:-1].values).all()
        np.testing.assert_allclose(
            bars["end"] - bars["start"], bars["change"].astype(float)
        )
        assert bars["start"].iloc[0] == own["baseline"].iloc[0]
        assert bars["end"].iloc[-1] == own["prediction"].iloc[0]
        largest = own.loc[own["contribution"].abs().nlargest(5).index, "feature"]
        assert bars["feature"].iloc[:-1].tolist() == largest.tolist()
    highest = rows.groupby(["sample", "target"])["prediction"].first().unstack()
    predicted = steps[steps["predicted"]].groupby("sample")["target"].first()
    assert (predicted == highest.idxmax(axis=1)).all()


@pytest.mark.parametrize(
    ("taxon", "name"),
    [
        ("k__Bacteria; f__Lachnospiraceae; g__; s__", "f__Lachnospiraceae (0123456)"),
        ("d__Bacteria;g__Blautia;s__obeum", "g__Blautia obeum (0123456)"),
        ("Unassigned", "Unassigned (0123456)"),
        ("", "0123456"),
    ],
)
def test_names(taxon, name):
    assert name_of("0123456", {"0123456": taxon}) == name
    assert name_of("A" * 100, {}) == f"{'A' * 20}…"


def test_one_sample_is_one_in_words():
    rows = table()
    one = rows[rows["sample"] == rows["sample"].iloc[0]]
    assert contributions_page(one, "x").lead.startswith("1 sample is explained")
    assert " samples are explained" in contributions_page(rows, "x").lead
