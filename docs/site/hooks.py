"""What the site adds to docs/: pages and files of the repository, notebooks, and what is in build/docs."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
# What `make docs` has made before: KaTeX, the help of the commands, the gallery.
MADE = ROOT / "build/docs"
# Pages outside of docs/, and their place in the site.
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "k8s/README.md": "kubernetes.md",
}
_FENCED = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
# The end of a code block, or a line of a paragraph, before a list or a table.
_BEFORE = re.compile(r"(\A\n|^(?![-*#>|] |\d+\. |\s).*\S.*\n)(?=- |1\. |\|.*\|\n\|[-:| ]+\|\n)", re.MULTILINE)
_LOST = re.compile(r"^(?:<p>)?((?:- |\d\. ).*|\|.*\|)$", re.MULTILINE)
_CODE = re.compile(r"<(pre|code)\b.*?</\1>", re.DOTALL)
_LINK = re.compile(r"(\]\()(?!\w+:|#)([^)#\s]+)")
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json", ".sh": "sh"}
_MOST_LINES = 400


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for path, place in OUTSIDE.items():
        files.append(File.generated(config, place, content=(ROOT / path).read_text()))
    for made in sorted(path for path in MADE.rglob("*") if path.is_file()):
        files.append(File.generated(config, made.relative_to(MADE).as_posix(), abs_src_path=str(made)))
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.append(File.generated(config, str(Path(file.src_uri).with_suffix(".md")), content=notebook(file)))
    texts = [(source(file), file.content_string) for file in files if file.is_documentation_page()]
    linked = {target for path, text in texts for target in targets(path, text)}
    for target in sorted(path for path in linked if place_of(path).startswith("files/")):
        files.append(File.generated(config, place_of(target), content=shown(target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at the places that their files have in the site, and begin lists and tables as GitHub does.

    This Markdown needs an empty line between a paragraph and its list or table.
    """
    path, here = source(page.file), PurePosixPath(page.file.src_uri).parent

    def moved(match: re.Match[str]) -> str:
        target = resolved(path, match[2])
        if target.startswith("docs/") and path.startswith("docs/"):
            return match[0]
        return match[1] + os.path.relpath(place_of(target), here)

    def written(part: str) -> str:
        return part if part.startswith("```") else _LINK.sub(moved, _BEFORE.sub(r"\1\n", part))

    return "".join(written(part) for part in _FENCED.split(markdown))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> None:
    """Refuse a page whose code, list or table the site would show as text.

    Raises:
        PluginError: a fence is left, or a list or a table is part of a paragraph.
    """
    text = _CODE.sub("", html)
    if "```" in text:
        raise PluginError(f"{page.file.src_uri}: a code block is not closed, or its first line has a mistake")
    if found := _LOST.search(text):
        raise PluginError(f"{page.file.src_uri}: a list or a table is shown as text: {found[1][:60]}")


def source(file: File) -> str:
    """The path of a page in the repository."""
    return next((path for path, place in OUTSIDE.items() if place == file.src_uri), f"docs/{file.src_uri}")


def targets(path: str, text: str) -> set[str]:
    """Files of the repository that a page links to."""
    return {resolved(path, target) for _, target in _LINK.findall(_FENCED.sub("", text))}


def resolved(path: str, target: str) -> str:
    """A relative link as a path of the repository."""
    return os.path.normpath(PurePosixPath(path).parent / target)


def place_of(path: str) -> str:
    """The place of a file of the repository in the site."""
    return OUTSIDE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path}.md")


def shown(target: str) -> str:
    """A page with a file, or with the files of a folder; search passes over it."""
    path = ROOT / target
    parts = [f"---\nsearch: {{exclude: true}}\n---\n\n# {target}\n"]
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        lines = file.read_text().splitlines()
        more = f"… {len(lines)} lines" if len(lines) > _MOST_LINES else ""
        text = "\n".join([*lines[:_MOST_LINES], *([more] if more else [])])
        parts.append(f"\n## {file.name}\n\n````{_LANGUAGES.get(file.suffix, 'text')}\n{text}\n````\n")
    return "".join(parts)


def notebook(file: File) -> str:
    """An executed notebook as a page."""
    return "\n\n".join(part for cell in json.loads(file.content_string)["cells"] for part in _cell(cell))


def _cell(cell: dict[str, Any]) -> list[str]:
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [text]
    return [f"```python\n{text}\n```", *(_output(output) for output in cell["outputs"])]


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "image/png" in data:
        return (
            f'<img alt="the plot that the cell draws" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
        )
    for kind in ("image/svg+xml", "text/html"):
        if kind in data:
            shown = re.sub(r"\n\s*\n", "\n", "".join(data[kind]))  # a blank line would end the block of HTML
            return f'<div class="output">{shown}</div>'
    return f"```text\n{''.join(data['text/plain'])}\n```"
