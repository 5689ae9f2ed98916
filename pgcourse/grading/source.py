"""A YAML file whose parts know their lines, so that a mistake can be told by line, key and value.

Data flow: file -> nodes with lines, values -> a typed structure, or SpecificationError.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml


class SpecificationError(ValueError):
    """The specification cannot be used; the message says where and why."""


class Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML without its own reading of dates, which loses the offset from UTC."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (the shape that the parent asks for)
        first: [r for r in resolvers if r[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


WORDS = {
    "`float`": "a number",
    "`int`": "a whole number",
    "`str`": "text",
    "`bool`": "true or false",
    "`array`": "a list",
    "`object`": "a mapping",
    "`str | object`": "a name or a mapping",
    "`int | null`": "a whole number",
    "`float | null`": "a number",
    "`str | null`": "text",
    "`object | null`": "a mapping",
}


class Source:
    """A YAML file whose parts know their lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            loader = Loader(path.read_text(encoding="utf-8-sig"))
            self.node = loader.get_single_node()
            self._refuse_doubles(self.node)
            self.value = loader.construct_document(self.node) if self.node else {}
        except (OSError, UnicodeDecodeError) as error:
            raise SpecificationError(
                f"{path} must be a text that can be read, got {error}"
            ) from None
        except yaml.YAMLError as error:
            line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
            what = getattr(error, "problem", None) or str(error)
            raise SpecificationError(f"{path}:{line}: must be YAML, got: {what}") from None

    def convert(self, kinds: Mapping[str, type[msgspec.Struct]]) -> Any:
        """Return the content as the structure under ""; under other keys stand those inside it."""
        if not isinstance(self.value, dict):
            raise self.error("the file", "be a mapping of keys to values", self.value)
        try:
            return msgspec.convert(self.value, kinds[""])
        except msgspec.ValidationError as error:
            raise self._translated(str(error), kinds) from None

    def error(self, key: str, condition: str, got: Any, called: str = "") -> SpecificationError:
        """Say which key does not meet which condition, and where it stands."""
        line = self._find(key)[0].start_mark.line + 1 if self.node else 1
        shown = got if isinstance(got, str) else repr(got)
        where = f"{self.path}:{line}: {called or key}"
        return SpecificationError(f"{where} must {condition}, got {shown:.200}")

    def time(self, text: str, key: str) -> datetime:
        """Read a date with time and offset."""
        try:
            when = datetime.fromisoformat(text.strip())
        except (ValueError, AttributeError):
            when = None
        if when is None or when.tzinfo is None:
            condition = "be a date with time and offset from UTC, as 2026-11-20T23:59:00+01:00"
            raise self.error(key, condition, repr(text))
        return when

    def _translated(
        self, message: str, kinds: Mapping[str, type[msgspec.Struct]]
    ) -> SpecificationError:
        """Turn a message of the decoder into ours."""
        what, _, where = message.partition(" - at ")
        key = where.strip("`").removeprefix("$").removeprefix(".").split("[...]")[0]
        if unknown := re.match(r"Object contains unknown field `(.*)`", what):
            known = ", ".join(kinds[key.split("[")[0]].__struct_fields__)
            return self.error(f"{key}.{unknown[1]}", f"be one of {known}", unknown[1], "a key")
        if missing := re.match(r"Object missing required field `(.*)`", what):
            return self.error(key, f"have the key {missing[1]}", "none")
        condition = what.removeprefix("Expected ").split(", got ")[0]
        for word, ours in WORDS.items():
            condition = condition.replace(word, ours)
        return self.error(key or "the file", f"be {condition}", self._find(key)[1])

    def _find(self, key: str) -> tuple[yaml.Node, Any]:
        """Return the node and the value of a key such as `questions[0].points`."""
        node, value = self.node, self.value
        for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", key):
            if index and isinstance(value, list):
                node, value = node.value[int(index)], value[int(index)]
            elif isinstance(value, dict) and name in value:
                node = next(v for k, v in node.value if k.value == name)
                value = value[name]
        return node, value

    def _refuse_doubles(self, node: yaml.Node | None) -> None:
        if isinstance(node, yaml.MappingNode):
            keys = [k.value for k, _ in node.value]
            for (key, value), name in zip(node.value, keys, strict=True):
                if keys.count(name) > 1:
                    where = f"{self.path}:{key.start_mark.line + 1}"
                    raise SpecificationError(f"{where}: key {name} must stand once, got it again")
                self._refuse_doubles(value)
        for part in node.value if isinstance(node, yaml.SequenceNode) else []:
            self._refuse_doubles(part)
