"""Takes secrets out of what the terminal's side writes down; the rules are in `pipelines.redaction`."""

from pipelines.redaction import HIDDEN, redacted, redacted_text

__all__ = ["HIDDEN", "redacted", "redacted_text"]
