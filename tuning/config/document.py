"""Write docs/configuration.md from the docstrings of the settings.

python -m tuning.config.document > docs/configuration.md
python -m tuning.config.document --check docs/configuration.md    # exit code 1 if the file is stale
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tuning.config.messages import as_yaml
from tuning.config.sweep_config import SweepConfig
from tuning.text import single_line

_INTRO = """\
# Configuration

<!-- Generated from the docstrings in tuning/config/ by `python -m tuning.config.document > docs/configuration.md`. -->

`python -m tuning sweep --config FILE KEY=VALUE …` reads its settings from a YAML file, such as one of
[configs/](../configs), and applies the overrides. KEY is a name from the tables below and VALUE is YAML:

```sh
python -m tuning sweep --config configs/small.yaml --data CLIPS train.epochs=30 'space.lr=[1e-3, 1e-4]' search.asha=null
```

A setting that is left out has its default. Before anything starts, the sweep refuses unknown names, values of the wrong
type, and settings that have no effect. A setting of the file that has no effect because of an override, such as
`train.patience=8` with `train.epochs=3`, is left out with a note. Each run folder keeps all its settings, including
defaults, in `config.yaml`.

Where the type allows `null`, the meaning says what `null` does. Where the type is a list, a single value counts as a
list of one.
"""

_PLAIN_TYPES = {"boolean": "`true` or `false`", "null": "`null`"}


def configuration_page() -> str:
    """Return the text of docs/configuration.md."""
    schema = SweepConfig.model_json_schema()
    sections = list(_sections("", schema, schema["$defs"]))
    contents = [f"- [{_heading(key)}](#{_anchor(key)}): {_sentence(section)}" for key, section in sections]
    parts = [_section_text(key, section) for key, section in sections]
    return "\n".join([_INTRO, *contents, "", *parts])


def _sections(key: str, schema: dict[str, Any], classes: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the settings classes as JSON schemas, with the key under which their settings are written."""
    yield key, schema
    for name, field in schema["properties"].items():
        nested = _nested_class(field)
        if nested is not None:
            per_arch = ".ARCH" if field.get("type") == "object" else ""
            yield from _sections(f"{key}.{name}{per_arch}".lstrip("."), classes[nested], classes)


def _nested_class(field: dict[str, Any]) -> str | None:
    """Return the name of the settings class of a field, if it has a section of its own."""
    if "$ref" in field:
        name = str(field["$ref"]).rpartition("/")[2]
        return None if name == "LogRange" else name
    inner = [*field.get("anyOf", ()), *(field[key] for key in ("items", "additionalProperties") if key in field)]
    return next(filter(None, (_nested_class(each) for each in inner if isinstance(each, dict))), None)


def _is_section(field: dict[str, Any]) -> bool:
    return "$ref" in field and _nested_class(field) is not None


def _section_text(key: str, schema: dict[str, Any]) -> str:
    # A section that can't be null has no row of its own: the contents link to it.
    rows = [_row(key, name, field) for name, field in schema["properties"].items() if not _is_section(field)]
    header = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join([f"## {_heading(key)}", "", single_line(schema["description"]), "", *header, *rows, ""])


def _row(section: str, name: str, field: dict[str, Any]) -> str:
    key = f"{section}.{name}".lstrip(".")
    cells = [
        f'<a id="{key}"></a>`{key}`',
        _type_text(key, field),
        _default_text(field),
        single_line(field["description"]),
    ]
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _type_text(key: str, field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return _alternatives([_type_text(key, each) for each in field["anyOf"]])
    if "$ref" in field:
        return f"[section](#{_anchor(key)})" if _is_section(field) else "range `{low: …, high: …}`"
    if "enum" in field or "const" in field:
        return _alternatives([f"`{value}`" for value in field.get("enum", [field.get("const")])])
    kind = field.get("type")
    if kind == "array":
        items = _type_text(key, field["items"])
        return "list of " + re.sub(r"^(string|number|integer)\b", r"\1s", items)
    if kind == "object":
        nested = _nested_class(field)
        return f"mapping of names to [sections](#{_anchor(f'{key}.ARCH')})" if nested else "mapping"
    return _PLAIN_TYPES[kind] if kind in _PLAIN_TYPES else f"{kind}{_bounds(field)}"


def _bounds(field: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {field[name]:g}" for name, sign in signs.items() if name in field]
    return f" {' and '.join(bounds)}" if bounds else ""


def _default_text(field: dict[str, Any]) -> str:
    if "default" not in field:
        return "`{}`" if field.get("type") == "object" else ""
    # The defaults of a section are in its own table.
    if _nested_class(field) is not None and field["default"] is not None:
        return ""
    return f"`{as_yaml(field['default'])}`" if field["default"] != "" else '`""`'


def _alternatives(texts: Sequence[str]) -> str:
    return " or ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _heading(key: str) -> str:
    return f"`{key}`" if key else "Top level"


def _anchor(key: str) -> str:
    """Return the anchor that GitHub gives to the heading of a section."""
    return key.replace(".", "").lower() if key else "top-level"


def _sentence(section: dict[str, Any]) -> str:
    return single_line(section["description"]).partition(". ")[0].rstrip(".")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the page, or check a file against it; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tuning.config.document", description="Write docs/configuration.md."
    )
    parser.add_argument("--check", type=Path, metavar="FILE", help="exit with 1 if FILE is stale, instead of printing")
    file = parser.parse_args(argv).check
    page = configuration_page()
    if file is None:
        sys.stdout.write(page)
        return 0
    if file.is_file() and file.read_text(encoding="utf-8") == page:
        return 0
    print(f"{file} is stale: run python -m tuning.config.document > {file}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
