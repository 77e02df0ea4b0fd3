"""What is handed out: versions and requirements agree, a wheel holds what it must."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import aam_core

ROOT = Path(aam_core.__file__).parents[1]
ENVIRONMENTS = sorted((ROOT / "environment-files").glob("*.yml"))
#: Names of conda's packages where they differ.
OF_CONDA = {"torch": "pytorch"}
#: What conda's packages have beside them: QIIME 2, and what biom-format brings for pip.
BESIDE = {"python", "h5py", "qiime2", "q2-types", "q2-sample-classifier"}
#: What the library's linter takes for an environment of QIIME 2.
OF_LIBRARY = r"q2-aam-(qiime2|rachis)-.*-20[0-9][0-9]\.([1-9]|1[0-2]).*\.yml"


def requirement(line):
    """Name and lowest version of a requirement, as pip or conda write it."""
    name, version = re.fullmatch(r"([\w-]+) ?(?:>=(\S+))?", line).groups()
    return OF_CONDA.get(name, name), version


def of_pip():
    """The requirements in setup.py."""
    text = (ROOT / "setup.py").read_text()
    listed = re.search(r"install_requires=\[(.*?)\]", text, re.S)[1]
    return dict(requirement(line) for line in re.findall(r'"(.+)"', listed))


def of_recipe():
    text = (ROOT / "recipe" / "meta.yaml").read_text()
    listed = re.search(r"\n  run:\n(.*?)\n\n", text, re.S)[1]
    return dict(requirement(line) for line in re.findall(r"- (.+)", listed))


def test_the_recipe_has_the_requirements_of_pip():
    found = of_recipe()
    assert set(found) == set(of_pip()) | BESIDE
    assert {name: found[name] for name in of_pip()} == of_pip()


def test_the_lowest_python_is_the_same_everywhere():
    lowest = re.search(r'python_requires=">=(.+)"', (ROOT / "setup.py").read_text())[1]
    recipe = (ROOT / "recipe" / "meta.yaml").read_text()
    assert of_recipe()["python"] == lowest
    assert re.findall(r"- python >=(\S+)", recipe) == [lowest, lowest]
    target = f'target-version = "py{lowest.replace(".", "")}"'
    assert target in (ROOT / "pyproject.toml").read_text()
    assert f"--target={lowest}-" in (ROOT / "Makefile").read_text()


def conda(path):
    """An environment, its packages, and what pip adds to them."""
    content = yaml.safe_load(path.read_text())
    packages = [p for p in content["dependencies"] if isinstance(p, str)]
    by_pip = [p["pip"] for p in content["dependencies"] if isinstance(p, dict)]
    return content, packages, [name for part in by_pip for name in part]


def test_the_environment_of_developers_has_all_requirements():
    _, packages, _ = conda(ROOT / "environment.yml")
    names = {re.split("[>=]", package)[0] for package in packages}
    assert set(of_pip()) <= names


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda p: p.stem)
def test_environments_of_the_library(path):
    """As it lints them: one step installs everything, and its name is left open."""
    content, packages, by_pip = conda(path)
    assert re.fullmatch(OF_LIBRARY, path.name)
    assert set(content) == {"channels", "dependencies"}
    release = re.search(r"(20\d\d\.\d+)\.yml", path.name)[1]
    assert content["channels"][0] == (
        f"https://packages.qiime2.org/qiime2/{release}/qiime2/released"
    )
    assert packages[0] == "rachis-qiime2"
    assert "pip" in packages
    assert by_pip == [f"q2-aam=={aam_core.__version__}"]
    for package in packages[1:-1]:
        name, lowest = requirement(package)
        assert of_pip()[name] == lowest


def test_the_entry_of_the_library():
    """Its linter takes these keys and no others."""
    entry = yaml.safe_load((ROOT / "docs" / "library" / "q2-aam.yml").read_text())
    assert set(entry) <= {"owner", "name", "branch", "docs"}
    assert entry["name"] == "q2-aam"


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == aam_core.__version__
    assert f"## {aam_core.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert "aam_core/__init__.py" in (ROOT / "recipe" / "meta.yaml").read_text()


def test_a_tag_is_the_version():
    asked = ["git", "-C", str(ROOT), "tag", "--points-at", "HEAD"]
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no repository")
    tags = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    versions = [tag for tag in tags.split() if re.match(r"v\d", tag)]
    assert versions in ([], [f"v{aam_core.__version__}"])


def commands_of_workflows():
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            for step in job["steps"]:
                yield from step.get("run", "").splitlines()


def test_workflows_run_what_is_there():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    made = [line.split()[1] for line in commands_of_workflows() if "make " in line[:5]]
    assert {"test", "test-rachis"} <= set(made) <= set(targets)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Made of a copy without git, as of an archive of the sources."""
    copy = tmp_path_factory.mktemp("sources")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("aam_core", "q2_aam"):
        shutil.copytree(
            ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    (copy / "tests").mkdir()
    (copy / "tests" / "__init__.py").touch()
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet"]
    options = ["--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*command, *options, "."], cwd=copy, check=True)
    (made,) = copy.glob("*.whl")
    return made


def test_a_wheel_holds_everything_and_nothing_more(wheel):
    version = aam_core.__version__
    assert wheel.name == f"q2_aam-{version}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    info = f"q2_aam-{version}.dist-info/"
    found = {name for name in names if not name.startswith(info)}
    wanted = {
        str(path.relative_to(ROOT))
        for package in ("aam_core", "q2_aam")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name[0] != "."
    }
    assert found == wanted
    assert {"aam_core/py.typed", "q2_aam/py.typed"} <= found


def test_a_wheel_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as content:
        info = f"q2_aam-{aam_core.__version__}.dist-info/"
        text = content.read(info + "METADATA").decode()
        entries = content.read(info + "entry_points.txt").decode()
    needed = [
        line for line in re.findall(r"Requires-Dist: (.+)", text) if "extra" not in line
    ]
    assert dict(requirement(line) for line in needed) == of_pip()
    assert "matplotlib" not in "".join(needed)
    assert "Classifier: Typing :: Typed" in text
    assert "Project-URL: Support, https://forum.qiime2.org" in text
    assert "q2-aam = q2_aam.plugin_setup:plugin" in entries
    assert "aam = aam_core.cli.main:main" in entries
