"""The documentation site: `make docs`."""

import aam_core

project = "q2-aam"
author = "The q2-aam development team"
copyright = author
release = version = aam_core.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
nitpicky = False
numpydoc_show_class_members = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say it
exclude_patterns = ["figures", "images"]

smartquotes = False  # --option stays as it is typed
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"q2-aam {release}"
