"""Bad inputs are refused at once, and in the words of docs/messages.md.

`python -m tests.bad_inputs` writes that page.
"""

import pytest

from tests.bad_inputs import PAGE, SECTIONS, row, told

CASES = [(title, bad) for title, cases in SECTIONS.items() for bad in cases()]
#: Of a message in which a library has the last word.
FIRST = 14


@pytest.mark.parametrize(
    ("title", "bad"), CASES, ids=[f"{t}: {b.what}" for t, b in CASES]
)
def test_a_bad_input_is_told_as_the_page_says(title, bad, tmp_path):
    found = told(bad, tmp_path)
    assert found.status in (1, 2)
    assert found.changed == []
    section = PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2]
    expected = row(bad, found.message)
    if not bad.ours:
        expected = row(bad, found.message[:FIRST]).removesuffix(" |")
    assert f"\n{expected}" in section.partition("\n## ")[0]


def test_the_page_has_nothing_else():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ") and "`" in line]
    assert len(rows) == len(CASES)
