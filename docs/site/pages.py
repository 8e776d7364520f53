"""An MkDocs hook that chooses the pages of the site and adapts their links.

Every page keeps its path in the repository, so that relative links between pages need no change. Files that
pages link to are part of the site, too: code and settings as pages that show them, pictures and CSV files
unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import normpath, relpath

from commands_reference import commands_reference
from mkdocs.config.config_options import ExtraScriptValue
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from pymdownx.superfences import fence_code_format
from settings_reference import method_settings_reference, settings_reference

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "*.md",
    "docs/*.md",
    "benchmarks/*.md",
    "config/*.md",
    "results/README.md",
    "tests/reference/data/*.md",
)
GENERATED = {
    "reference/settings.md": settings_reference,
    "reference/method-settings.md": method_settings_reference,
    "reference/commands.md": commands_reference,
}
AS_THEY_ARE = {".png", ".svg", ".csv"}
STYLE = "docs/site/style.css"
MERMAID = "docs/site/mermaid.min.js"
"""A local copy of Mermaid, which draws diagrams. Without it diagrams are shown as text, because the theme
would load Mermaid over the network, and if that fails, the site's search stops working, too."""
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".cff": "yaml"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    if (ROOT / MERMAID).is_file():
        config.extra_javascript.append(ExtraScriptValue(MERMAID))
        fence = {"name": "mermaid", "class": "mermaid", "format": fence_code_format}
        config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of ``docs_dir`` by those of the site."""
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    pages = sorted({path.relative_to(ROOT).as_posix() for pattern in PAGES for path in ROOT.glob(pattern)})
    linked = {target for page in pages for target in targets(page, (ROOT / page).read_text(encoding="utf-8"))}
    linked |= {child for folder in linked if (ROOT / folder).is_dir() for child in python_files(folder)}
    for path in [*pages, STYLE, MERMAID]:
        if (ROOT / path).is_file():
            files.append(of_repository(path, config))
    for name, generate in GENERATED.items():
        files.append(File.generated(config, name, content=generate()))
    # MkDocs reports broken links.
    for path in sorted(path for path in linked - set(pages) if (ROOT / path).exists()):
        if Path(path).suffix in AS_THEY_ARE:
            files.append(of_repository(path, config))
        else:
            file = File.generated(config, shown_at(path), content=shown(path))
            file.inclusion = InclusionLevel.NOT_IN_NAV
            files.append(file)
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: object) -> str:
    """Redirect links to code and settings to the pages that show them."""
    here = page.file.src_uri

    def led(link: re.Match[str]) -> str:
        path = resolved(here, link[1])
        shows = (ROOT / path).exists() and files.get_file_from_path(path) is None
        return relpath(shown_at(path), Path(here).parent.as_posix()) if shows else link[1]

    return markdown if here in GENERATED else LINK.sub(led, markdown)


def of_repository(path: str, config: MkDocsConfig) -> File:
    return File(path, str(ROOT), config.site_dir, config.use_directory_urls)


def resolved(page: str, link: str) -> str:
    """Return the path in the repository of a page's relative link."""
    return normpath((Path(page).parent / link).as_posix())


def targets(page: str, markdown: str) -> set[str]:
    return {resolved(page, link) for link in LINK.findall(markdown)}


def python_files(folder: str) -> Iterator[str]:
    return (path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob("*.py"))


def shown_at(path: str) -> str:
    """Return the path of the page that shows a file or a folder."""
    return f"{path}/index.md" if (ROOT / path).is_dir() else f"{path}.md"


def shown(path: str) -> str:
    """Return a page with the content of a file or a folder, excluded from the search."""
    head = f"---\nsearch:\n  exclude: true\n---\n\n# `{path}`\n\n"
    if (ROOT / path).is_dir():
        names = sorted(Path(child).name for child in python_files(path))
        return head + "".join(f"- [`{name}`]({name})\n" for name in names)
    text = (ROOT / path).read_text(encoding="utf-8")
    return f"{head}`````{LANGUAGES.get(Path(path).suffix, 'text')}\n{text}\n`````\n"
