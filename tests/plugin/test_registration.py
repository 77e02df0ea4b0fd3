"""What the plugin registers, and what it imports."""

import errno
import subprocess
import sys
from unittest.mock import patch

import pytest
from q2_types.feature_data import FeatureData
from q2_types.sample_data import SampleData
from qiime2.plugin.testing import TestPluginBase
from qiime2.plugins import aam

from aam_core.config import effort
from aam_core.errors import RunError
from q2_aam._formats import (
    AAMContributionsDirectoryFormat,
    AAMCrossValidationDirectoryFormat,
    AAMEmbeddingDirectoryFormat,
    AAMEncoderDirectoryFormat,
    AAMModelDirectoryFormat,
    RegressionDetailsDirectoryFormat,
)
from q2_aam._inputs import in_action
from q2_aam._types import (
    AAMContributions,
    AAMCrossValidation,
    AAMEmbedding,
    AAMEncoder,
    AAMModel,
    Classification,
    Regression,
    RegressionDetails,
)
from q2_aam.plugin_setup import citations, plugin


class RegistrationTests(TestPluginBase):
    package = "q2_aam"

    def test_types(self):
        for kind in (
            AAMEncoder,
            AAMModel,
            Regression,
            Classification,
            RegressionDetails,
            AAMEmbedding,
            AAMContributions,
            AAMCrossValidation,
        ):
            self.assertRegisteredSemanticType(kind)

    def test_formats_of_types(self):
        for kind, fmt in (
            (AAMEncoder, AAMEncoderDirectoryFormat),
            (AAMModel[Regression | Classification], AAMModelDirectoryFormat),
            (SampleData[RegressionDetails], RegressionDetailsDirectoryFormat),
            (SampleData[AAMEmbedding], AAMEmbeddingDirectoryFormat),
            (SampleData[AAMContributions], AAMContributionsDirectoryFormat),
            (SampleData[AAMCrossValidation], AAMCrossValidationDirectoryFormat),
            (FeatureData[AAMEmbedding], AAMEmbeddingDirectoryFormat),
        ):
            self.assertSemanticTypeRegisteredToFormat(kind, fmt)

    def test_examples_run(self):
        with patch.dict(effort.STEPS, {"quick": 6}):  # networks of a few steps
            self.execute_examples()


@pytest.mark.parametrize("action", plugin.actions.values(), ids=lambda a: a.id)
def test_everything_is_described(action):
    signature = action.signature
    parts = signature.inputs | signature.parameters
    if action.type != "visualizer":  # whose output has none
        parts |= signature.outputs
    assert [name for name, spec in parts.items() if not spec.has_description()] == []
    assert action.description
    assert action.citations
    assert action.examples


@pytest.mark.parametrize("action", plugin.actions)
def test_no_output_is_named_like_an_input(action):
    """QIIME 2 2022.11 accepts it, and then offers no option for the output."""
    signature = plugin.actions[action].signature
    given = set(signature.inputs) | set(signature.parameters)
    assert not given & set(signature.outputs)


def test_every_citation_is_used():
    used = [c for action in plugin.actions.values() for c in action.citations]
    used += plugin.citations
    assert {c.fields["title"] for c in used} == {
        c.fields["title"] for c in citations.values()
    }


def test_actions_show_their_own_source():
    source = aam.actions.predict.source
    assert "def predict(" in source
    assert "as_predictions(result.predictions)" in source


def modules_after(statement):
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_registration_imports_no_torch():
    loaded = modules_after("import q2_aam.plugin_setup")
    assert "q2_aam._train" in loaded
    others = modules_after("import q2_sample_classifier.plugin_setup")
    assert "torch" not in loaded - others  # some versions of scikit-bio import it
    ours = {n.removeprefix("aam_core.") for n in loaded if n.startswith("aam_core.")}
    light = {"config", "errors", "io", "io.model_folder", "io.training_state"}
    light |= {"io.config_rules", "io.json_file", "io.rules"}  # of config.json
    light |= {"distributed", "distributed.launch", "reporting", "runtime"}
    light |= {"io.state_content", "runtime.forks", "training", "training.stop"}
    assert {n for n in ours if not n.startswith("config.")} <= light


def test_engine_never_imports_qiime2():
    loaded = modules_after(
        "import importlib, pkgutil, aam_core\n"
        "for module in pkgutil.walk_packages(aam_core.__path__, 'aam_core.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
    )
    assert {"aam_core.commands.train", "torch"} <= loaded
    roots = {name.partition(".")[0] for name in loaded}
    assert {
        r for r in roots if r in ("qiime2", "rachis") or r.startswith("q2")
    } == set()


def test_errors_of_the_system_say_what_to_do_in_every_action():
    for name, action in plugin.actions.items():
        if action.type != "pipeline":  # they call the others
            assert "in_action" in action._callable.__code__.co_names, name
    with pytest.raises(RunError, match=r"x: No space left\. Free some"), in_action():
        raise OSError(errno.ENOSPC, "No space left", "x")
