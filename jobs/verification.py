"""`posemill verify` on a terminal: progress while it reads, then one line, or one per finding."""

from jobs.progress import BarProgress, LineProgress
from jobs.report.formatting import bytes_text
from storage.commit import FileEntry
from storage.reader import Dataset
from storage.verify import VerificationReport, VerifySettings, verify_dataset

_SHOWN_FINDINGS = 20


def verify_with_progress(
    dataset: Dataset, settings: VerifySettings, progress: BarProgress | LineProgress
) -> VerificationReport:
    """Check a dataset and tell how far it is."""
    task = f"verify {dataset.store.url}"
    progress.start(task, len(dataset.manifest.files), "files")

    def on_file(entry: FileEntry) -> None:
        del entry
        progress.advance(task)

    report = verify_dataset(dataset, settings, on_file)
    progress.finish(task)
    return report


def verification_lines(report: VerificationReport) -> list[str]:
    """For a reader."""
    looked_at = (
        f"{report.files:,} files, {report.rows:,} pairs, {report.frames:,} frames, {bytes_text(report.bytes)}"
    )
    head = f"{report.url} v{report.version:06d}: {looked_at}"
    if report.is_sound:
        return [f"{head}: sound"]
    rows = sum(finding.count for finding in report.findings)
    shown = [f"  {finding}" for finding in report.findings[:_SHOWN_FINDINGS]]
    more = len(report.findings) - len(shown)
    return [
        f"{head}: {rows:,} findings",
        *shown,
        *([f"  and {more:,} more; --json names them"] if more else []),
    ]
