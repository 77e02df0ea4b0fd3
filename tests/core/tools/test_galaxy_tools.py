"""The values of a test of a Galaxy tool, as a job reads them."""

import xml.etree.ElementTree as ET

from tools.galaxy_tools import values_of

TEST = """
<test>
  <param name="table" value="t.qza" ftype="qza"/>
  <param name="epochs" value="2"/>
  <param name="effort" value="quick"/>
  <section name="__q2galaxy__GUI__section__extra_opts__">
    <param name="test_size" value="0.25"/>
    <conditional name="groups">
      <param name="type" value="tsv"/>
      <param name="source" value="m.tsv" ftype="qiime2.tabular"/>
      <param name="column" value="3"/>
    </conditional>
  </section>
  <repeat name="metadata">
    <conditional name="__q2galaxy__GUI__conditional__metadata__">
      <param name="type" value="tsv"/>
      <param name="source" value="m.tsv" ftype="qiime2.tabular"/>
    </conditional>
  </repeat>
  <repeat name="metadata_column"><param name="element" value="ph"/></repeat>
  <output name="model" ftype="qza"/>
</test>
"""


def test_values_are_those_of_the_form(tmp_path):
    found = values_of(ET.fromstring(TEST), tmp_path)
    metadata = {"type": "tsv", "source": str(tmp_path / "m.tsv")}
    assert found == {
        "table": str(tmp_path / "t.qza"),
        "epochs": 2,
        "effort": "quick",
        "test_size": 0.25,
        "groups": metadata | {"column": ["3"]},
        "metadata": [metadata],
        "metadata_column": [{"element": "ph"}],
    }
