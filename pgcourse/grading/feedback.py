"""What a student reads: one page and one text, each complete in itself.

Data flow: Student, Specification -> HTML, Markdown.

Public inputs stand in full; of hidden ones only the diagnosis, never a number. Whatever a student
chose is cut, escaped and stripped of invisible characters.
"""

from __future__ import annotations

from collections.abc import Iterator

from pgcourse import CHAPTERS
from pgcourse.checks import core
from pgcourse.checks.show import SIGNS, inline
from pgcourse.grading.results import Result
from pgcourse.grading.scores import Answered, Student, number
from pgcourse.grading.specification import Specification
from pgcourse.grading.texts import fenced, html, markdown

LONG = 20_000  # characters of one public input
STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem}
section{border-left:4px solid #6e7781;padding:.1rem 1rem;margin:1.2rem 0}
section.right{border-color:#1a7f37} section.wrong{border-color:#b35900}
h2{font-size:1.1rem} pre{overflow-x:auto;padding:.5rem;border:1px solid #8886}
table{border-collapse:collapse}
th,td{text-align:left;padding:.2rem .8rem;border-bottom:1px solid #8886}
"""
KINDS = {
    "shape": "the result has another shape",
    "type": "the result is of another type",
    "finite": "the result is infinite or not a number",
    "value": "the numbers differ",
}


def page(title: str, body: str) -> str:
    """Return a page that needs no other file; title and body are escaped already."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{title}</title>\n"
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def as_html(student: Student, specification: Specification) -> str:
    """Return the page of one student."""
    title = html(f"{specification.title or 'Feedback'}: {student.name}")
    parts = [f"<h1>{title}</h1>", *(f"<p>{html(line)}</p>" for line in summary(student))]
    parts += [_section(a, specification) for a in student.answers]
    files = [f"<li>{html(line)}</li>" for line in _files(student)]
    parts += ["<h2>Files</h2>", f"<ul>{''.join(files)}</ul>"] if files else []
    return page(title, "\n".join(parts))


def as_markdown(student: Student, specification: Specification) -> str:
    """Return the same as text."""
    title = f"{specification.title or 'Feedback'}: {student.name}"
    parts = [f"# {markdown(title)}", *(markdown(line) for line in summary(student))]
    for answer in student.answers:
        parts += _text(answer, specification)
    files = [f"- {markdown(line)}" for line in _files(student)]
    parts += ["## Files", "\n".join(files)] if files else []
    return "\n\n".join(parts) + "\n"


def summary(student: Student) -> Iterator[str]:
    """Yield what comes first: points, lateness, what could not be read."""
    yield f"{number(student.points)} of {number(student.possible)} points."
    if student.kept < 1 and student.handed_in:
        when = student.handed_in.isoformat(timespec="minutes")
        yield f"Handed in late ({when}): {number(100 * student.kept)} % of the points count."
    if student.problem:
        yield f"Not everything could be graded. {student.problem}."


def _headline(answer: Answered) -> str:
    result = answer.result
    said = result.mistake or ("not right yet" if result.status == "wrong" else result.status)
    points = f"{number(answer.points)} of {number(answer.question.points)}"
    return f"{SIGNS.get(result.status, '○')} {result.question}: {said} ({points})"


def _where(result: Result) -> str:
    """Return in words where the answer failed, without anything of a hidden input."""
    if result.shown is not None:
        return "Seen on a public input, which you can try:" if result.shown.inputs else "Seen:"
    kind = KINDS.get(result.stage, "")
    kind = f"the function {result.stage}" if result.stage.startswith("raised") else kind
    told = f"Right on {100 * result.share:.0f} % of the hidden inputs"
    return f"{told}{'; elsewhere ' if kind else ''}{kind}. Hidden inputs are not shown."


def _page_of(result: Result, specification: Specification) -> tuple[str, str]:
    """Return the words and the address of the paragraph; no address without one of the book."""
    chapter = core.chapter_of(result.question)
    name = f"{chapter:02d}_{CHAPTERS[chapter]}"
    where = f"{specification.book.rstrip('/')}/{name}.html#{result.see}"
    return f"page {name}, paragraph {result.see}", where if specification.book else ""


def _section(answer: Answered, specification: Specification) -> str:
    result = answer.result
    parts = [f"<h2>{html(_headline(answer))}</h2>"]
    if result.status == "wrong":
        parts += [f"<p>{inline(result.says)}</p>"] if result.says else []
        parts.append(f"<p>{html(_where(result))}</p>")
        if seen := _seen(result, specification):
            parts.append(f"<pre>{html(seen, LONG)}</pre>")
        if result.see:
            words, address = _page_of(result, specification)
            link = f'<a href="{html(address)}">{html(words)}</a>' if address else html(words)
            parts.append(f"<p>Read: {link}.</p>")
    kind = result.status if result.status in {"right", "wrong"} else "none"
    return f'<section class="{kind}">{"".join(parts)}</section>'


def _text(answer: Answered, specification: Specification) -> list[str]:
    result = answer.result
    parts = [f"## {markdown(_headline(answer))}"]
    if result.status == "wrong":
        parts += [result.says] if result.says else []
        parts.append(markdown(_where(result)))
        if seen := _seen(result, specification):
            parts.append(fenced(seen, LONG))
        if result.see:
            words, address = _page_of(result, specification)
            parts.append(f"Read: [{words}](<{address}>)." if address else f"Read: {words}.")
    return parts


def _seen(result: Result, specification: Specification) -> str:
    """Return the difference on a public input, and how to see it again."""
    if result.shown is None:
        return ""
    lines = [result.shown.difference] if result.shown.difference else []
    if result.shown.inputs:
        lines += ["on this input:", *(text for _, text in result.shown.inputs)]
        lines.append(f"try it: check({result.question}, seed={specification.public_seed})")
    return "\n".join(lines)


def _files(student: Student) -> Iterator[str]:
    for line in student.lines:
        yield f"{line.file}: {line.status}{': ' if line.why else ''}{line.why}"
        yield from (f"{line.file}, {note}" for note in line.notes)
