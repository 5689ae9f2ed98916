"""What this book adds to Sphinx.

* The equation gate: a numbered equation is published only if `tests/equations` proves the very
  LaTeX that the page prints. Anything else is a warning, and the build treats warnings as errors.
* A check mark beside each proven equation, and `{equation-tests}`, the page it leads to.
* `{quiz}`: questions whose every option explains itself, without a script.
* Pages that need no network: MathJax from a Python package, and no script that would fetch.
"""

from __future__ import annotations

import hashlib
import html
import importlib
import importlib.metadata
import inspect
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

TESTS_PAGE = "book/equation_tests"
GATED = re.compile(r"book/(?!api$)")  # docstrings and notebooks have no directives to carry a label


class Display(NamedTuple):
    """A displayed equation as a page prints it."""

    label: str | None
    latex: str
    scratch: bool
    line: int | None


# --- The registry of proven equations ---------------------------------------------------------


def load_registry(root: Path) -> dict[str, Any]:
    """The registry of `tests/equations`: label -> Equation, in page order."""
    for folder in (str(root), str(root / "tests")):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    try:
        registry = importlib.import_module("tests.equations").load()
    except Exception as error:
        raise ExtensionError(
            f"the equations of tests/equations cannot be loaded: {error}"
        ) from error
    return dict(registry)


def fingerprint(root: Path) -> str:
    """Changes with what pages depend on unseen by Sphinx: the checks, this file, style sheets."""
    folders = (root / "tests" / "equations", root / "book" / "_static", root / "book" / "_ext")
    sources = sorted(path for folder in folders for path in folder.glob("*.*") if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def registry_of(env: BuildEnvironment) -> dict[str, Any]:
    registry: dict[str, Any] = env.app.pgbook_registry  # type: ignore[attr-defined]
    return registry


def without_space(latex: str) -> str:
    return re.sub(r"\s+", "", latex)


def how_checked(equation: Any) -> str:
    """One phrase for the tooltip: the first sentence of the check, or the kind of statement."""
    if equation.function is None or equation.kind == "definition":
        return "a definition, used by other checks"
    first_line = (inspect.getdoc(equation.function) or "").split("\n")[0].rstrip(".")
    return first_line or {
        "equation": "both sides computed on random worlds",
        "inequality": "tried on random cases, with its tightness",
        "limit": "computed exactly at several sizes",
    }.get(equation.kind, equation.kind)


# --- The gate ---------------------------------------------------------------------------------


def load_and_copy(app: Sphinx) -> None:
    """At the start of a build: read the registry, and bring MathJax along."""
    app.pgbook_registry = load_registry(Path(app.srcdir))  # type: ignore[attr-defined]
    copy_mathjax(app)


def displays_of(env: BuildEnvironment) -> dict[str, list[Display]]:
    if not hasattr(env, "pgbook_displays"):
        env.pgbook_displays = {}  # type: ignore[attr-defined]
    displays: dict[str, list[Display]] = env.pgbook_displays
    return displays


def collect_displays(app: Sphinx, doctree: nodes.document) -> None:
    docname = app.env.docname
    executed = Path(app.outdir).parent / "executed" / f"{Path(docname).name}.ipynb"
    if executed.exists():  # a page is made again when its cells were run again
        app.env.note_dependency(str(executed))
    if GATED.match(docname):
        displays_of(app.env)[docname] = [
            Display(node.get("label"), node.astext(), "scratch" in node["classes"], node.line)
            for node in doctree.findall(nodes.math_block)
        ]


def forget_displays(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    displays_of(env).pop(docname, None)


def gate(app: Sphinx, env: BuildEnvironment) -> None:
    """Report each difference between what the pages print and what the registry proves."""
    for location, message in differences(displays_of(env), registry_of(env)):
        logger.warning(message, location=location, type="pgbook", subtype="equation")


def differences(
    displays: dict[str, list[Display]], registry: dict[str, Any]
) -> Iterator[tuple[Any, str]]:
    found = set()
    for docname, on_page in sorted(displays.items()):
        for display in on_page:
            place = (docname, display.line)
            if not display.label:
                if not display.scratch:
                    yield (
                        place,
                        "a display needs a label and a check, or `:class: scratch`",
                    )
                continue
            found.add(display.label)
            equation = registry.get(display.label)
            if equation is None:
                yield place, f"equation {display.label!r} has no check in tests/equations"
            elif without_space(display.latex) != without_space(equation.latex):
                yield (
                    place,
                    f"equation {display.label!r} differs from what its check proves:\n"
                    f"  page:  {' '.join(display.latex.split())}\n"
                    f"  check: {' '.join(equation.latex.split())}",
                )
            elif not docname.startswith(f"book/{equation.chapter:02d}_"):
                yield (
                    place,
                    f"equation {display.label!r} is registered for chapter {equation.chapter}",
                )
    for label, equation in registry.items():
        if label not in found:
            page = f"book/{equation.chapter:02d}_*"
            yield None, f"equation {label!r} has a check, but page {page} does not show it"


def outdated(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> Iterable[str]:
    """Read the page of tests again when a gated page changed, and all when the registry did.

    (When only a style sheet changed, this makes Sphinx copy it.)
    """
    now = fingerprint(Path(app.srcdir))
    unchanged = getattr(env, "pgbook_fingerprint", now) == now
    env.pgbook_fingerprint = now  # type: ignore[attr-defined]
    if not unchanged:
        return sorted({TESTS_PAGE, *displays_of(env)} & env.found_docs)
    changes = [name for name in added | changed | removed if GATED.match(name)]
    return sorted({TESTS_PAGE} & env.found_docs) if changes else []


# --- Check marks ------------------------------------------------------------------------------


class check_mark(nodes.Element):  # noqa: N801 - docutils names nodes so
    """A link from an equation to its test."""


def visit_check_mark(self: Any, node: check_mark) -> None:
    how = html.escape(f"checked: {node['how']}", quote=True)
    self.body.append(
        f'<a class="pg-check" href="{html.escape(node["href"], quote=True)}" title="{how}"'
        f' aria-label="equation {html.escape(node["label"], quote=True)}, {how}">✓</a>'
    )
    raise nodes.SkipNode


def skip(self: Any, node: nodes.Node) -> None:
    raise nodes.SkipNode


def add_check_marks(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    if not GATED.match(docname) or app.builder.format != "html":
        return
    registry = registry_of(app.env)
    for node in list(doctree.findall(nodes.math_block)):
        equation = registry.get(node.get("label") or "")
        if equation is None:
            continue
        box = nodes.container(classes=["pg-equation"])
        node.parent[node.parent.index(node)] = box  # `replace_self` would give the box its id too
        href = ""
        if TESTS_PAGE in app.env.found_docs:
            href = app.builder.get_relative_uri(docname, TESTS_PAGE) + f"#check-{equation.label}"
        box += node
        box += check_mark("", label=equation.label, how=how_checked(equation), href=href)


# --- Folded blocks, shared by quizzes and by the page of tests -----------------------------------


class details(nodes.Element):  # noqa: N801
    """A block that opens and closes by itself, by mouse or keyboard."""


class summary(nodes.TextElement):  # noqa: N801
    """The line of a `details` that stays visible."""


def tag(name: str) -> tuple[Callable[..., None], Callable[..., None]]:
    def visit(self: Any, node: nodes.Element) -> None:
        self.body.append(self.starttag(node, name, "" if name == "summary" else "\n"))

    def depart(self: Any, node: nodes.Element) -> None:
        self.body.append(f"</{name}>\n")

    return visit, depart


def passed_through() -> tuple[Callable[..., None], Callable[..., None]]:
    """For output that cannot fold: show everything."""

    def nothing(self: Any, node: nodes.Node) -> None: ...

    return nothing, nothing


# --- Equations cited in docstrings ---------------------------------------------------------------

CITED = re.compile(r"\{eq\}`([^`]+)`")


def cite_in_docstring(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Docstrings cite as the pages do; the API page is read as reStructuredText."""
    lines[:] = [CITED.sub(r":eq:`\1`", line) for line in lines]


def cite_in_code(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Show the number of a cited equation in included code."""
    numbers = {
        identity.removeprefix("equation-"): ".".join(map(str, number))
        for figures in app.env.toc_fignumbers.values()
        for identity, number in figures.get("displaymath", {}).items()
    }
    for block in doctree.findall(nodes.literal_block):
        code = CITED.sub(lambda m: f"({numbers.get(m[1], m[1])})", block.astext())
        if code != block.astext():
            block.rawsource = code
            block.children = [nodes.Text(code)]


# --- {equation-tests} ---------------------------------------------------------------------------


class EquationTests(SphinxDirective):
    """Every equation of the book with its check and the misprints that the check must reject."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        registry = registry_of(self.env)
        for path in sorted((Path(self.env.srcdir) / "tests" / "equations").glob("*.py")):
            self.env.note_dependency(str(path))
        chapters: dict[int, nodes.section] = {}
        for equation in registry.values():
            if equation.chapter not in chapters:
                name = f"Chapter {equation.chapter:02d}"
                chapters[equation.chapter] = section(f"checks-{equation.chapter:02d}", name)
            chapters[equation.chapter] += self.entry(equation)
        return [chapters[number] for number in sorted(chapters)]

    def entry(self, equation: Any) -> nodes.section:
        entry = section(f"check-{equation.label}", equation.label)
        entry["classes"].append("pg-test")
        back = nodes.paragraph()
        back += nodes.Text(f"{equation.kind.capitalize()} ")
        back += self.link(equation.label)
        back += nodes.Text(f": {how_checked(equation)}.")
        entry += back
        latex = textwrap.dedent(equation.latex).strip()
        entry += nodes.math_block(
            latex, latex, classes=["scratch"], label=None, number=None, nowrap=False
        )
        if equation.function is not None:
            entry += source("What is computed", equation.function)
        users = [e.label for e in registry_of(self.env).values() if equation.label in e.uses]
        for words, labels in (("Uses ", equation.uses), ("Used by ", users)):
            if labels:
                entry += self.links(words, labels)
        if equation.misprints:
            entry += nodes.paragraph("", "Misprints that this check must reject, and does:")
            for misprint in equation.misprints:
                entry += source(misprint.name, misprint.function)
        return entry

    def link(self, label: str) -> nodes.Node:
        """The number of an equation as a link, as the role `{eq}` makes it.

        The chapters were read before this page; of a missing equation the gate complains.
        """
        text = nodes.literal("", label)
        if not any(d.label == label for page in displays_of(self.env).values() for d in page):
            return text
        return pending_xref(
            "",
            text,
            refdomain="math",
            reftype="eq",
            reftarget=label,
            refdoc=self.env.docname,
            refexplicit=False,
            refwarn=True,
        )

    def links(self, words: str, labels: Iterable[str]) -> nodes.paragraph:
        line = nodes.paragraph("", words)
        for i, label in enumerate(labels):
            line += [nodes.Text(", ")] if i else []
            line += self.link(label)
        line += nodes.Text(".")
        return line


def section(identity: str, title: str) -> nodes.section:
    node = nodes.section(ids=[nodes.make_id(identity)], names=[identity])
    node += nodes.title(title, title)
    return node


def source(title: str, function: Any) -> details:
    code = textwrap.dedent(inspect.getsource(function)).rstrip()
    code = re.sub(r"\A@.*?(?=^def )", "", code, flags=re.S | re.M)  # the decorator quotes the LaTeX
    box = details(classes=["pg-source"])
    box += summary("", title)
    # Not coloured: with every chapter's checks on one page, a span a token is a heavy page.
    box += nodes.literal_block(code, code, language="text")
    return box


# --- {quiz} -------------------------------------------------------------------------------------

OPTION = re.compile(r"- \[(?P<mark>[ xX])\] (?P<text>.+)")


class Quiz(SphinxDirective):
    """A question; each option opens to say whether and why.

    An option is a line `- [ ] wrong` or `- [x] right`; the indented lines below explain it.
    """

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec = {"name": directives.unchanged}  # noqa: RUF012 - docutils' own idiom

    def run(self) -> list[nodes.Node]:
        options = self.split()
        if len(options) < 2 or not any(right for right, *_ in options):
            raise self.error("a quiz needs at least two options, one of them right: `- [x] ...`")
        quiz = nodes.container(classes=["pg-quiz"])
        self.add_name(quiz)
        quiz += self.inline(nodes.paragraph(classes=["pg-question"]), self.arguments[0], 0)
        for right, text, start, explanation in options:
            if not any(line.strip() for line in explanation):
                raise self.error(f"the option {text!r} has no explanation")
            quiz += self.option(right, text, start, explanation)
        return [quiz]

    def split(self) -> list[tuple[bool, str, int, list[str]]]:
        options: list[tuple[bool, str, int, list[str]]] = []
        for i, line in enumerate(self.content):
            match = OPTION.match(line)
            if match:
                options.append((match["mark"] != " ", match["text"], i, []))
            elif options and (not line.strip() or line.startswith("  ")):
                options[-1][3].append(line)
            elif line.strip():
                raise self.error(
                    f"in a quiz, expected `- [ ] option` or an indented line: {line!r}"
                )
        return options

    def option(self, right: bool, text: str, start: int, explanation: list[str]) -> details:
        box = details(classes=["pg-option"])
        box += self.inline(summary(), text, start)
        body = nodes.container(classes=["pg-right" if right else "pg-wrong"])
        lines = textwrap.dedent("\n".join(explanation)).split("\n")
        parsed = nodes.Element()
        self.state.nested_parse(
            type(self.content)(lines, self.content.source(start)),
            self.content_offset + start + 1,
            parsed,
        )
        verdict = nodes.strong("", "Right. " if right else "Not this one. ")
        first = next((c for c in parsed.children if isinstance(c, nodes.paragraph)), None)
        if first is not None and parsed.children[0] is first:
            first.insert(0, verdict)
        else:
            body += nodes.paragraph("", "", verdict)
        body += parsed.children
        box += body
        return box

    def inline(self, node: nodes.Element, text: str, offset: int) -> nodes.Element:
        children, messages = self.state.inline_text(text, self.lineno + offset)
        node += children
        node += messages
        return node


# --- Pages that need no network -------------------------------------------------------------------


def copy_mathjax(app: Sphinx) -> None:
    """Copy one MathJax script (all extensions inside, so it never fetches) into the output."""
    if app.builder.format != "html":
        return
    name = Path(str(app.config.mathjax_path)).name
    carried = importlib.metadata.files("sphinx-mathjax-offline") or []
    script = next((Path(str(f.locate())) for f in carried if f.name == name), None)
    if script is None:
        raise ExtensionError(f"the package sphinx-mathjax-offline does not carry {name}")
    target = Path(app.outdir) / "_static" / str(app.config.mathjax_path)
    if not target.exists() or target.stat().st_size != script.stat().st_size:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(script, target)


def silence_thebe(app: Sphinx, config: Any) -> None:
    """Switch off live cells: they need the network, and their script throws when added twice."""
    for listeners in app.events.listeners.values():
        for listener in list(listeners):
            if listener.handler.__module__.split(".")[0] == "sphinx_thebe":
                app.disconnect(listener.id)


def drop_thebe(
    app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Drop what is left of it: a style sheet, and a script of the theme."""
    for key in ("css_files", "script_files"):
        context[key] = [
            file
            for file in context.get(key, [])
            if "thebe" not in f"{file} {getattr(file, 'attributes', {}).get('body', '')}".lower()
        ]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(check_mark, html=(visit_check_mark, None), latex=(skip, None), text=(skip, None))
    for node in (details, summary):
        app.add_node(node, html=tag(node.__name__), latex=passed_through(), text=passed_through())
    app.add_directive("equation-tests", EquationTests)
    app.add_directive("quiz", Quiz)
    app.connect("config-inited", silence_thebe, priority=900)
    app.connect("builder-inited", load_and_copy)
    app.connect("doctree-read", collect_displays)
    app.connect("env-purge-doc", forget_displays)
    app.connect("env-get-outdated", outdated)
    app.connect("env-check-consistency", gate)
    app.connect("autodoc-process-docstring", cite_in_docstring)
    app.connect("doctree-resolved", cite_in_code)
    app.connect("doctree-resolved", add_check_marks)
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"version": "1", "env_version": 1, "parallel_read_safe": False}
