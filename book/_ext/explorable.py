"""The directive {explorable}: a picture to play with, in a few kilobytes and without the network.

    ```{explorable} score
    :samples: 12
    :batches: 8
    :seed: 3

    What stands here is shown where there is no JavaScript.
    ```

`book/_static/explorables/<name>.js` and `.css` draw it, on the pages that show it and no others.
The random numbers behind the samples are drawn here, once, from a fixed seed: whoever checks the
picture can draw the same ones.
"""

from __future__ import annotations

import html
import json
from typing import Any

import numpy as np
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class explorable(nodes.Element):  # noqa: N801 - docutils names nodes so
    """Holds the data of a picture, and as children what replaces it without JavaScript."""


def standard_normals(seed: int, batches: int, samples: int) -> list[list[float]]:
    """The numbers z behind the samples x = mean + std z, a row for each batch."""
    return np.random.default_rng(seed).standard_normal((batches, samples)).tolist()


class Explorable(SphinxDirective):
    """Place the explorable called by the first argument."""

    required_arguments = 1
    has_content = True
    option_spec = {  # noqa: RUF012 - docutils' own idiom
        "samples": directives.positive_int,
        "batches": directives.positive_int,
        "seed": directives.nonnegative_int,
    }

    def run(self) -> list[nodes.Node]:
        self.assert_has_content()
        seed, batches, samples = (self.options[key] for key in ("seed", "batches", "samples"))
        node = explorable(kind=self.arguments[0], z=standard_normals(seed, batches, samples))
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node]


def open_box(self: Any, node: explorable) -> None:
    numbers = html.escape(json.dumps(node["z"]), quote=True)
    kind = html.escape(node["kind"], quote=True)
    self.body.append(f'<div class="pg-explorable" data-kind="{kind}" data-z="{numbers}">\n')


def close_box(self: Any, node: explorable) -> None:
    self.body.append("</div>\n")


def pass_through(self: Any, node: explorable) -> None: ...


def add_files(
    app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    kinds = {node["kind"] for node in doctree.findall(explorable)} if doctree else set()
    for kind in sorted(kinds):
        app.add_js_file(f"explorables/{kind}.js", loading_method="defer")
        app.add_css_file(f"explorables/{kind}.css")


def setup(app: Sphinx) -> dict[str, Any]:
    silent = (pass_through, pass_through)
    app.add_node(explorable, html=(open_box, close_box), latex=silent, text=silent)
    app.add_directive("explorable", Explorable)
    app.connect("html-page-context", add_files)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True}
