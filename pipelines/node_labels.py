"""Placement by node labels: what should not be lost stays off nodes that may go at any time.

A selector is Ray's: label -> `value`, `!value`, `in(a, b)` or `!in(a, b)`; all of them must hold.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator

from pipelines.errors import PoolError

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{{0,251}}[A-Za-z0-9])?/)?{_NAME}")
_VALUE = re.compile(rf"!?{_NAME}|!?in\({_NAME}(?:, ?{_NAME})*\)")
_SHOWN = 6


def _checked(selector: dict[str, str]) -> dict[str, str]:
    for key, value in selector.items():
        if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
            raise ValueError(
                f"wants labels such as ray.io/market-type: on-demand (or '!spot', 'in(a, b)'), got {key!r}: {value!r}"
            )
    return selector


LabelSelector = Annotated[dict[str, str], AfterValidator(_checked)]


def matches(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Whether a node with these labels fulfils the selector; a node without a label fulfils only its negations."""
    return all(_holds(labels.get(key), wanted) for key, wanted in selector.items())


def labels_of(offer: Mapping[str, float]) -> Mapping[str, str]:
    """The labels of a node, of which only the resources are known otherwise."""
    return offer.labels if isinstance(offer, NodeOffer) else {}


class NodeOffer(dict[str, float]):
    """A node's resources by Ray's names, and its labels."""

    def __init__(self, resources: Mapping[str, float], labels: Mapping[str, str]) -> None:
        super().__init__(resources)
        self.labels = dict(labels)


def labels_text(selector: Mapping[str, str]) -> str:
    """A selector for a reader."""
    return ", ".join(f"{key}={value}" for key, value in selector.items())


def labels_there(selector: Mapping[str, str], nodes: Sequence[Mapping[str, str]]) -> str:
    """Which values the labels of a selector have on the nodes, for an error."""
    there = sorted({f"{key}={labels[key]}" for labels in nodes for key in selector if key in labels})
    return ", ".join(there[:_SHOWN]) or "none of these labels"


def require_node(name: str, selector: Mapping[str, str], nodes: Sequence[Mapping[str, Any]]) -> None:
    """Check that a living node fulfils the selector.

    Args:
        name: What shall be placed.
        nodes: As `ray.nodes()` gives them.

    Raises:
        PoolError: if none does; shows the labels that there are.
    """
    living = [dict(node.get("Labels") or {}) for node in nodes if node["Alive"]]
    if any(matches(labels, selector) for labels in living):
        return
    raise PoolError(
        f"{name}: wanted a node with {labels_text(selector)}; the {len(living)} node(s) of the cluster have "
        f"{labels_there(selector, living)}. Add such a node "
        "(cluster.yaml has gpu_on_demand), let it wait for one (wait_for_nodes_s), or take the labels out"
    )


def _holds(value: str | None, wanted: str) -> bool:
    negated = wanted.startswith("!")
    plain = wanted.removeprefix("!")
    inside = plain.startswith("in(") and plain.endswith(")")
    allowed = [word.strip() for word in plain[3:-1].split(",")] if inside else [plain]
    return (value in allowed) != negated
