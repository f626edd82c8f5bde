"""Coverage-guided fuzzing of one target: `python -m tests.fuzz.run_atheris TARGET CORPUS_FOLDER [libFuzzer options]`.

The corpus folder is filled with our own seeds first. An input that is answered by anything but one of our errors is
written beside the corpus as crash-*, timeout-* or oom-*; mend the reader, and keep the input in test_found.py.
"""

import sys
import warnings
from hashlib import sha256
from pathlib import Path

import atheris  # pyright: ignore[reportMissingImports]

with atheris.instrument_imports(
    include=["poses", "estimators", "storage", "pipelines", "jobs", "yaml", "zipfile", "pickletools"]
):
    from tests.fuzz.targets import TARGETS, survives


def main() -> None:
    """Fill the corpus and fuzz until libFuzzer's limits."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    target = TARGETS[name]
    folder.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (folder / sha256(seed).hexdigest()[:16]).write_bytes(seed)
    warnings.simplefilter("ignore")
    options = [
        "-timeout=20",
        "-rss_limit_mb=4096",
        "-max_len=65536",
        f"-artifact_prefix={folder}-",
        *sys.argv[3:],
    ]

    def one(data: bytes) -> None:
        survives(target, data)

    atheris.Setup([sys.argv[0], str(folder), *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
