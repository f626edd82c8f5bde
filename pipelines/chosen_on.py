"""On which kind of data a checkpoint was chosen. A test split makes every number on it too good, so it is refused, or
written into the file and shown beside every number that the checkpoint gets.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from pipelines.errors import SettingsError

TEST_PARTS = ("target_*", "test", "test_*", "*_test")
"""Names of parts that are there to be tested on."""
VALIDATION, TEST, LAST_STEP, UNKNOWN = "validation", "test", "last step", "unknown"


def tested_parts(parts: Iterable[str]) -> list[str]:
    """The parts that are test splits by their names."""
    return sorted({part for part in parts if any(fnmatchcase(part, pattern) for pattern in TEST_PARTS)})


def chosen_on(parts: Iterable[str], choose_on_test: bool, where: str) -> str:
    """What a checkpoint says about how it was chosen: `validation` or `test`.

    Args:
        parts: Of the poses that choose it.
        choose_on_test: Whether the user insists.
        where: The setting that names the parts, for the message.

    Raises:
        SettingsError: if a part is a test split and nobody insists.
    """
    found = tested_parts(parts)
    if not found:
        return VALIDATION
    if not choose_on_test:
        raise SettingsError(
            f"{where}: {', '.join(found)} is a test split, wanted validation poses: a checkpoint that is chosen on the "
            "test split gets too good numbers there; choose on a part such as source_valid, or set choose_on_test to "
            "true, which the checkpoint and every table of it then say"
        )
    return TEST


def selection_of(metadata: Mapping[str, Any]) -> str:
    """What a lifter's file says about how it was chosen; `unknown` where it does not say."""
    return str(metadata.get("selected_on", UNKNOWN))
