"""docs/config.md, made from the schema of the configuration, so that the two cannot disagree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hccflow.tables import load_schema

_HEAD = """# Configuration

Generated from `workflow/schemas/config.schema.yaml` by `make docs`; a test compares the two. `config.yaml` is the
default study; other studies are single files under `studies/` (`snakemake --configfile studies/<name>.yaml`). An
unknown key stops the study at parse time. `<name>` stands for a name that you choose.

| key | type | default | meaning |
|---|---|---|---|
"""


def config_page() -> str:
    """Markdown page with one row per key of the configuration."""
    return _HEAD + "".join(_rows(load_schema("config"), ""))


def _rows(schema: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, rule in schema.get("properties", {}).items():
        key = f"{prefix}{name}"
        required = name in schema.get("required", ())
        default = "required" if required else _code(rule["default"]) if "default" in rule else ""
        yield f"| `{key}` | {_kind(rule)} | {default} | {rule.get('description', '')} |\n"
        yield from _inside(rule, key)


def _inside(rule: Mapping[str, Any], key: str) -> Iterator[str]:
    if rule.get("type") == "array" and isinstance(rule.get("items"), dict):
        yield from _rows(rule["items"], f"{key}[].")
    yield from _rows(rule, f"{key}.")
    extra = rule.get("additionalProperties")
    if isinstance(extra, dict) and "properties" in extra:
        yield from _rows(extra, f"{key}.<name>.")


def _kind(rule: Mapping[str, Any]) -> str:
    if "oneOf" in rule:
        return " or ".join(_kind(option) for option in rule["oneOf"])
    if "enum" in rule:
        return ", ".join(f"`{value}`" for value in rule["enum"])
    kind = rule.get("type", "any")
    if isinstance(kind, list):
        return " or ".join("empty" if one == "null" else _kind({**rule, "type": one}) for one in kind)
    if kind == "array" and "items" in rule:
        return f"list of {_kind(rule['items'])}"
    return kind


def _code(value: Any) -> str:
    if value == "" or value is None:
        return "empty"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
