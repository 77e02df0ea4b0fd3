"""Packaging of q2-aam."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (HERE / "aam_core" / "__init__.py").read_text(), re.M
).group(1)
README = HERE / "README.md"

setup(
    name="q2-aam",
    version=VERSION,
    description="Deep learning for microbial communities: a QIIME 2 plugin",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="The q2-aam development team",
    license="BSD-3-Clause",
    url="https://qiime2.org",
    project_urls={
        "Support": "https://forum.qiime2.org",
        "QIIME 2 library": "https://library.qiime2.org",
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Bio-Informatics",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["aam_core*", "q2_aam*"]),
    package_data={
        "aam_core": [
            "py.typed",
            "io/general_encoder/*",
            "io/general_encoder.LICENSE.md",
            "report/page.html.jinja",
        ],
        "q2_aam": ["py.typed", "citations.bib", "example_model/*"],
    },
    python_requires=">=3.10",
    # QIIME 2 itself comes with conda or apt: there is no complete one for pip. h5py
    # comes with biom-format.
    install_requires=[
        "altair>=5.4",
        "biom-format>=2.1.12",
        "click>=8.1",
        "jinja2>=3",
        "numpy>=1.24",
        "pandas>=1.5",
        "psutil>=5.9",
        "safetensors>=0.4",
        "scikit-bio>=0.5.8",
        "scikit-learn>=1.2",
        "scipy>=1.10",
        "torch>=2.6",
        "tqdm>=4.64",
        "vl-convert-python>=1.7",
    ],
    extras_require={
        "tensorboard": ["tensorboard>=2.16"],
        "docs": ["furo", "myst-parser", "numpydoc", "sphinx>=7"],
        "dev": [
            "coverage>=7.10",
            "hypothesis>=6.100",
            "matplotlib>=3.6",
            "pytest>=8",
            "pytest-cov>=7",
            "pytest-xdist>=3.5",
            "ruff==0.17.6",
            "tensorboard>=2.16",
            "vermin>=1.6",
        ],
    },
    entry_points={
        "console_scripts": ["aam=aam_core.cli.main:main"],
        "qiime2.plugins": ["q2-aam=q2_aam.plugin_setup:plugin"],
    },
    zip_safe=False,
)
