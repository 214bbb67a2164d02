import os
import re
import sys
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

import torchattn_blocks

project = "torchattn_blocks"
author = "The torchattn_blocks authors"
copyright = f"2026, {author}"
version = release = torchattn_blocks.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "filename_pattern": "",
    "within_subsection_order": "ExampleTitleSortKey",
    "abort_on_example_error": True,
    "run_stale_examples": True,  # they show what the library does now
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 1e6,  # builds with the same results have the same pages
}
# The tables in the folders are included by pages.
exclude_patterns = [
    *("_build", "drop_block/*.md", "attention/*.md", "hosts/results.md"),
    *("measure_errors.md", "measures_peers.md"),
    *("gallery/*.py", "gallery/*.ipynb", "gallery/sg_*.rst", "sg_execution_times.rst"),
]
myst_enable_extensions = ["dollarmath"]

# Types stand in signatures only; a method without words of its own does not repeat torch's.
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"
maximum_signature_line_length = 80
default_role = "py:obj"
napoleon_custom_sections = ["Shape"]
napoleon_attr_annotations = False
napoleon_use_ivar = True
napoleon_use_rtype = False

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["narrow.css"]
html_math_renderer = "mathml"

# Builds work without a network; with one, links to torch, Python and NumPy can be asked for.
if os.environ.get("DOCS_INTERSPHINX") == "1":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }


# A signature says `NDArray[uint8]`, as the source does, and not what NumPy makes of it. It names
# classes of ours as one imports them, not by the file in which they are written.
_ARRAY = r"~?numpy\.ndarray\[tuple\[~?typing\.Any, \.\.\.\], ~?numpy\.dtype\[(~?[\w.]+)\]\]"


_PRIVATE = r"~?(torchattn_blocks(?:\.retina)?)(?:\.\w+)*\.(\w+)"


def _shorten(*event: Any) -> tuple[str | None, str | None]:
    signature, returns = (
        text and re.sub(_PRIVATE, r"~\1.\2", re.sub(_ARRAY, r"~numpy.typing.NDArray[\1]", text))
        for text in event[-2:]
    )
    return signature, returns


# Data that a package resolves on first use: its words stand in the file that assigns it.
def _words_of_data(*event: Any) -> None:
    what, name, value, _, lines = event[1:]
    package, _, short = name.rpartition(".")
    if what != "data":
        return
    for path, module in list(sys.modules.items()):
        if path.startswith(package) and vars(module).get(short) is value:
            words = ModuleAnalyzer.for_module(path).find_attr_docs().get(("", short))
            lines[:] = words or lines


# Formulas become MathML, which browsers draw by themselves: no script from elsewhere is needed.
def _append_mathml(self: HTML5Translator, node: nodes.Element, *, as_block: bool) -> None:
    try:
        self.body.append(tex2mathml(node.astext(), as_block=as_block))
    except MathError as error:
        logging.getLogger(__name__).warning(f"formula: {error}", location=node)
    raise nodes.SkipNode


def _visit_math(self: HTML5Translator, node: nodes.Element) -> None:
    _append_mathml(self, node, as_block=False)


def _visit_math_block(self: HTML5Translator, node: nodes.Element) -> None:
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})</span>')
    _append_mathml(self, node, as_block=True)


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-signature", _shorten)
    app.connect("autodoc-process-docstring", _words_of_data)
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_math_block, None))
