"""YAML from outside: plain values only, and never more work than a file of its size may ask for.

`yaml.safe_load` runs no code, but a few hundred bytes of nested aliases make it build billions of values, and deep
nesting ends in a RecursionError. Here the document is composed first, measured with its aliases written out, and only
then turned into values.
"""

from collections.abc import Hashable
from typing import Any

import yaml

MAX_CHARACTERS = 256 * 1024
MAX_DEPTH = 64
MAX_VALUES = 200_000
"""Scalars, lists and mappings with every alias written out."""


class YamlRefusedError(yaml.YAMLError):
    """A document that is YAML, but not one that is read here."""


class _PlainLoader(yaml.SafeLoader):
    """A SafeLoader with a bound on nesting, which refuses keys that stand twice instead of keeping the last."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark
            raise YamlRefusedError(f"line {mark.line + 1}: nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag != "tag:yaml.org,2002:merge":
                if key_node.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key '{key_node.value}' stands twice", key_node.start_mark
                    )
                seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def load_plain_yaml(text: str, max_characters: int = MAX_CHARACTERS) -> Any:
    """The values of one YAML document: mappings, lists, texts, numbers, dates.

    Raises:
        yaml.YAMLError: if it is no YAML, has tags of other types or a key twice, or is too large, too deep, or a bomb
            of aliases.
    """
    if len(text) > max_characters:
        raise YamlRefusedError(f"{len(text):,} characters, more than the {max_characters:,} that are read")
    loader = _PlainLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _written_out(node, {}) > MAX_VALUES:
            raise YamlRefusedError(f"with its aliases written out it has more than {MAX_VALUES:,} values")
        return loader.construct_document(node)
    except (ValueError, TypeError, ArithmeticError, AttributeError, LookupError, RecursionError) as error:
        # what the constructors of numbers and dates raise for values such as 2001-99-99
        raise YamlRefusedError(f"a value cannot be read: {' '.join(str(error).split())[:120]}") from error
    finally:
        loader.dispose()


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node makes when its aliases are written out; one that holds itself is refused."""
    if id(node) in known:
        if known[id(node)] < 0:
            raise YamlRefusedError(f"line {node.start_mark.line + 1}: a value holds itself")
        return known[id(node)]
    known[id(node)] = -1
    size = 1
    if isinstance(node, yaml.SequenceNode):
        size += sum(_written_out(child, known) for child in node.value)
    elif isinstance(node, yaml.MappingNode):
        size += sum(_written_out(key, known) + _written_out(value, known) for key, value in node.value)
    known[id(node)] = size
    return size
