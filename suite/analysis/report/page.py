"""The pieces of an HTML page. All content passes through `text`, so that no name from a record becomes markup."""

from __future__ import annotations

import base64
import dataclasses
import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path


class Markup(str):
    """A piece of finished HTML; a plain string is content that still has to be escaped."""


def text(content: object) -> Markup:
    """Content as HTML: escaped, unless it is markup already; control characters are dropped."""
    if isinstance(content, Markup):
        return content
    return Markup(html.escape("".join(x for x in str(content) if x.isprintable() or x in "\n\t")))


def element(tag: str, *content: object, **attributes: str) -> Markup:
    """One element around its content; the last underscore of an attribute's name is dropped (``class_``)."""
    written = "".join(f' {name.rstrip("_")}="{html.escape(value)}"' for name, value in attributes.items())
    return Markup(f"<{tag}{written}>{''.join(map(text, content))}</{tag}>")


def section(title: str, *content: object) -> Markup:
    """A section under its heading."""
    return element("section", element("h2", title), *content)


def bullets(items: Iterable[object], **attributes: str) -> Markup:
    """An unordered list; nothing at all without items."""
    written = [element("li", item) for item in items]
    return element("ul", *written, **attributes) if written else Markup("")


def table(head: Sequence[object], rows: Iterable[Sequence[object]], left: Sequence[int] = ()) -> Markup:
    """A table that scrolls sideways on a narrow screen.

    Args:
        head: column headings.
        rows: cells, one sequence per row.
        left: columns of words, aligned left; the others hold numbers and are aligned right.
    """

    def cells(tag: str, row: Sequence[object]) -> list[Markup]:
        return [_cell(tag, cell, {"class_": "words"} if i in left else {}) for i, cell in enumerate(row)]

    header = element("thead", element("tr", *cells("th", head)))
    body = element("tbody", *(element("tr", *cells("td", row)) for row in rows))
    return element("div", element("table", header, body), class_="wide")


@dataclasses.dataclass(frozen=True)
class Tipped:
    """A cell with words that are shown while the pointer is on it."""

    content: object
    words: str


def _cell(tag: str, cell: object, attributes: dict[str, str]) -> Markup:
    if isinstance(cell, Tipped):
        return element(tag, cell.content, **attributes, title=cell.words)
    return element(tag, cell, **attributes)


def definitions(pairs: Iterable[tuple[str, object]]) -> Markup:
    """Terms with their values; pairs without a value are left out."""
    written = []
    for term, value in pairs:
        if value not in (None, ""):
            written += [element("dt", term), element("dd", value)]
    return element("dl", *written)


def picture(svg: Path, alt: str, caption: str, *, inline: bool = False, others: Sequence[str] = ()) -> Markup:
    """A figure with its caption and downloads: PNG and PDF beside the page, the SVG in the page itself.

    Args:
        svg: the SVG file; the PNG has its name.
        alt: what the figure shows, for those who cannot see it.
        caption: how to read it.
        inline: whether the SVG becomes part of the document, so that its tooltips work; else it is an image.
        others: names of the further looks in which it lies beside the page, as PNG and PDF.
    """
    written = svg.read_text(encoding="utf-8")
    address = data_address(written, "image/svg+xml")
    if inline:
        image = _inline(written, prefix=f"{svg.stem}-", alt=alt)
    else:
        image = Markup(f'<img src="{address}" alt="{html.escape(alt)}">')
    vectors = element("a", "SVG", href=address, download=svg.name)
    links = [_beside(svg, "png", "PNG"), vectors, _beside(svg, "pdf", "PDF")]
    for name in others:
        links += [text(f"{name}:"), *(_beside(svg, kind, kind.upper(), f"-{name}") for kind in ("png", "pdf"))]
    downloads = element("span", *(part for link in links for part in (link, " ")), class_="files")
    return element("figure", element("div", image, class_="wide"), element("figcaption", caption, " ", downloads))


def _beside(svg: Path, kind: str, words: str, suffix: str = "") -> Markup:
    name = f"{svg.stem}{suffix}.{kind}"
    return element("a", words, href=f"{svg.parent.name}/{name}", download=name)


def download(path: Path, *, embedded: bool) -> Markup:
    """A link to a file beside the page, or with its content in the page itself."""
    address = f"{path.parent.name}/{path.name}"
    if embedded:
        address = data_address(path.read_text(encoding="utf-8"), "text/plain")
    return element("a", path.name, href=address, download=path.name)


def data_address(content: str, kind: str) -> str:
    """A data URL that holds the content."""
    return f"data:{kind};base64,{base64.b64encode(content.encode()).decode('ascii')}"


def _inline(written: str, prefix: str, alt: str) -> Markup:
    """An SVG as an HTML element: without file header and metadata, its ids made unique in the page by a prefix."""
    body = written[written.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r' (?:xmlns(?::\w+)?|version)="[^"]*"', "", body)
    body = re.sub(r'\bid="', f'id="{prefix}', body)
    body = re.sub(r'href="#', f'href="#{prefix}', body)
    body = re.sub(r"url\(#", f"url(#{prefix}", body)
    return Markup(body.replace("<svg", f'<svg role="img" aria-label="{html.escape(alt)}"', 1))


def page(title: str, *content: object, refresh_seconds: float | None = None) -> str:
    """A complete HTML document, which loads nothing else; with ``refresh_seconds`` a browser loads it anew so often."""
    refresh = "" if refresh_seconds is None else f'<meta http-equiv="refresh" content="{refresh_seconds:g}">\n'
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'{refresh}<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{''.join(map(text, content))}\n</main>\n</body>\n</html>\n"
    )


_STYLE = """
:root { color-scheme: light; --ink: #222; --faint: #5f5f5f; --line: #dcdcdc; --adam: #0072B2; --sgd:
#B34E00; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); line-height: 1.5;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .35rem; text-wrap: balance; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p, li { max-width: 46rem; }
.subtitle { color: var(--faint); margin: 0 0 1.2rem; overflow-wrap: anywhere; }
.answer { font-size: 1.18rem; margin: 1.2rem 0 .6rem; max-width: 50rem; }
.decided { font-weight: 600; }
.caveats { border-left: 3px solid #E69F00; margin: 1rem 0; padding: .3rem 0 .3rem 2rem; font-size: .92rem; }
figure { margin: 1.2rem 0 1.6rem; }
figure img, figure svg { width: 100%; max-width: 46rem; height: auto; display: block; }
figure svg g:hover > g > use { opacity: .25 !important; }
td[title] { text-decoration: underline dotted var(--line) 1px; text-underline-offset: .25em; cursor: help; }
.panel { margin: 4rem 0 1rem; }
.question { border-top: 1px solid var(--line); padding: .4rem 0 1rem; }
.question h2 { border: 0; padding: 0; margin: 1rem 0 .2rem; }
figcaption { color: var(--faint); font-size: .88rem; max-width: 50rem; margin-top: .4rem; }
.files { white-space: nowrap; }
a { color: var(--adam); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; min-width: 100%; }
th { text-align: right; font-weight: 600; border-bottom: 1.5px solid var(--ink); vertical-align: bottom; }
th, td { padding: .32rem .4rem; white-space: nowrap; }
td { text-align: right; border-bottom: 1px solid var(--line); }
.words { text-align: left; }
td.words a { display: inline-block; min-width: 14rem; white-space: normal; }
th:first-child, td:first-child { padding-left: 0; }
.adam { color: var(--adam); font-weight: 600; }
.sgd { color: var(--sgd); font-weight: 600; }
.open, .pending { color: var(--faint); }
.edge { border: 1px solid #a26b00; color: #7a5000; border-radius: .7em; padding: 0 .5em; font-size: .82em; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.4rem; font-size: .92rem; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
code { font-size: .9em; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  main { padding: 1.2rem .9rem 3rem; }
  h1 { font-size: 1.35rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin: 0 0 .5rem; }
}
@media print {
  main { max-width: none; padding: 0; }
  body { font-size: 10pt; }
  figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
  .files, .downloads { display: none; }
  .wide { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: .2rem .3rem; white-space: normal; }
  a { color: inherit; text-decoration: none; }
}
"""
