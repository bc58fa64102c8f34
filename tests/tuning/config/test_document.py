from __future__ import annotations

from pathlib import Path

import pytest

from tuning.config.document import configuration_page, main

PAGE = Path(__file__).parents[3] / "docs/configuration.md"


def test_page_in_docs_is_current() -> None:
    assert main(["--check", str(PAGE)]) == 0


def test_stale_or_missing_page_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "configuration.md"
    assert main(["--check", str(file)]) == 1
    file.write_text(configuration_page() + "more\n")
    assert main(["--check", str(file)]) == 1
    assert f"run python -m tuning.config.document > {file}" in capsys.readouterr().err
    file.write_text(configuration_page())
    assert main(["--check", str(file)]) == 0


@pytest.mark.parametrize(
    "row",
    [
        "`data.val` | number > 0 and < 1 | `0.15` | Share of each class's clips",
        '`data.dir` | string | `""` |',
        '`space.arch` | list of strings | `["resnet18", "c3d"]` |',
        "`space.lr` | list of numbers > 0 or range `{low: …, high: …}` | `[0.001, 0.0001]` |",
        "`space.by_arch` | mapping of names to [sections](#spaceby_archarch) | `{}` |",
        "`space.by_arch.ARCH.num_frames` | list of integers ≥ 1 or `null` | `null` |",
        "`search.algorithm` | `grid`, `random` or `optuna` | `grid` |",
        "`search.asha` | [section](#searchasha) or `null` |  | Early stopping",
        "`search.asha.grace_epochs` | integer ≥ 1 | `2` |",
        "`train.trainable` | `all` or `head` or integer ≥ 1 | `all` |",
        "`test.crops` | `1` or `3` | `1` |",
    ],
)
def test_row_has_type_default_and_meaning(row: str) -> None:
    assert f"</a>{row}" in configuration_page()


def test_contents_link_to_every_section() -> None:
    page = configuration_page()
    headings = [line.removeprefix("## ").strip("`") for line in page.splitlines() if line.startswith("## ")]
    assert {"Top level", "data", "store", "space", "space.by_arch.ARCH", "search.asha", "tracking"} <= set(headings)
    anchors = [heading.lower().replace(".", "").replace(" ", "-") for heading in headings]
    assert all(f"](#{anchor})" in page for anchor in anchors)
