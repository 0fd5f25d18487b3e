"""What MkDocs does with the pages: it checks links that leave docs/."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

PROJECT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the project outside docs/ into their names; a file that is not there stops the build."""
    folder = (Path(config.docs_dir) / page.file.src_uri).parent

    def named(link: re.Match[str]) -> str:
        target = (folder / link[2].partition("#")[0]).resolve()
        if target.is_relative_to(Path(config.docs_dir).resolve()) and not target.is_dir():
            return link[0]
        if not target.exists():
            raise PluginError(f"{page.file.src_uri}: nothing lies at {link[2]}")
        name = target.relative_to(PROJECT).as_posix()
        return f"`{name}`" if link[1].strip("`") in name else f"{link[1]} (`{name}`)"

    return re.sub(r"(?<!!)\[([^\]]+)\]\((\.\.?/[^)]+)\)", named, markdown)
