"""The page of an explanation: what it holds, and that nothing of the data breaks it."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import vl_convert
from scipy.stats import spearmanr

from aam_core.data.contributions import LOG_ODDS, UNITS, check_contributions
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
