"""The docs name only files, headings, functions, commands, options and settings that exist."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import data.__main__
import models.__main__
import tuning.__main__
from tuning.config.sweep_config import SweepConfig

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
COMMAND_LINES: dict[str, Callable[..., int]] = {
    "data": data.__main__.main,
    "models": models.__main__.main,
    "tuning": tuning.__main__.main,
}
SECTIONS = [name for name, field in SweepConfig.model_fields.items() if hasattr(field.annotation, "model_fields")]
MOST_README_LINES = 130

_FENCE = re.compile(r"^```.*?^```", re.M | re.S)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:benchmarks|configs|data|docs|models|tests|tuning)/[\w./-]*)`")
_NAME_IN_FILE = re.compile(r"`(\w+)` in\s+`([\w/]+\.py)`")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
# The changelog names settings that are gone.
every_page_of_today = pytest.mark.parametrize("page", [p for p in PAGES if p.name != "CHANGELOG.md"], ids=name_of)


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_somewhere(page: Path, link: str) -> bool:
    file, _, anchor = link.partition("#")
    target = (page.parent / file).resolve() if file else page
    return target.exists() and (not anchor or anchor in anchors(target))


def is_setting(name: str) -> bool:
    """Whether a dotted name is a setting of `SweepConfig`; below a mapping any name may follow."""
    kind: object = SweepConfig
    for part in name.split("."):
        fields = getattr(kind, "model_fields", None)
        if fields is None:
            return True
        if part not in fields:
            return False
        kind = fields[part].annotation
    return True


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= MOST_README_LINES


@every_page
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    links = [link for link in _LINK.findall(prose(page)) if "://" not in link]
    assert [link for link in links if not leads_somewhere(page, link)] == []


@every_page
def test_named_paths_exist(page: Path) -> None:
    paths = _PATH.findall(prose(page))
    assert [path for path in paths if not (ROOT / path).exists()] == []


@every_page
def test_named_functions_are_defined_in_the_named_file(page: Path) -> None:
    named = _NAME_IN_FILE.findall(prose(page))
    sources = {path: (ROOT / path).read_text() for _, path in named}
    defined = r"^ *(?:class|def) {0}\b|^ *{0}\b *(?::[^=\n]*)?="
    assert [(name, path) for name, path in named if not re.search(defined.format(name), sources[path], re.M)] == []


@every_page
def test_names_in_a_row_of_a_file_occur_in_that_file(page: Path) -> None:
    rows = re.findall(r"^\| (`[^|]*\.py`) \| (.*) \|$", prose(page), re.M)
    unknown = []
    for files, change in rows:
        source = "\n".join((ROOT / path).read_text() for path in _PATH.findall(files))
        unknown += [(files, name) for name in re.findall(r"`(\w+)`", change) if not re.search(rf"\b{name}\b", source)]
    assert unknown == []


@every_page_of_today
def test_named_settings_exist(page: Path) -> None:
    named = re.findall(rf"`((?:{'|'.join(SECTIONS)})\.[a-z_.]+)[=`]", page.read_text())
    overrides = re.findall(rf"(?<![\w.])((?:{'|'.join(SECTIONS)})\.[a-z_.]+)=", page.read_text())
    assert [name for name in [*named, *overrides] if not is_setting(name)] == []


@every_page
def test_named_commands_and_options_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = page.read_text().replace("\\\n", " ")
    for package, command, rest in re.findall(r"python -m (data|models|tuning) ([a-z]+)([^\n`|#]*)", text):
        with pytest.raises(SystemExit) as ended:
            COMMAND_LINES[package]([command, "--help"])
        assert ended.value.code == 0, command
        shown = capsys.readouterr().out
        assert [option for option in re.findall(r"--[a-z][a-z-]*", rest) if option not in shown] == [], command


@every_page
def test_named_make_targets_and_programs_exist(page: Path) -> None:
    text, makefile = page.read_text(), (ROOT / "Makefile").read_text()
    code = "\n".join([*_FENCE.findall(text), *re.findall(r"`([^`\n]+)`", prose(page))])
    targets = re.findall(r"^make ([a-z-]+)", code, re.M)
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.M)] == []
    programs = re.findall(r"python -m ((?:benchmarks|tests)[\w.]+)", text)
    assert [name for name in programs if not (ROOT / name.replace(".", "/")).with_suffix(".py").is_file()] == []
