"""Puts the report of a run where the run is, or into a file of the caller's choice."""

from pathlib import Path

from jobs.locate import joined
from jobs.report.collect import report_inputs_from_run
from jobs.report.page import render_report, write_report
from storage.object_store import open_store

REPORT_NAME = "report.html"


def publish_report(out_url: str, output: str | None = None, version: int | None = None) -> str:
    """Write the report; returns where it is. Without `output` it is `OUT/report.html`, on any store; that of an
    earlier version of the data is `OUT/report-v000003.html`.
    """
    inputs = report_inputs_from_run(out_url, version)
    name = REPORT_NAME if version is None else f"report-v{version:06d}.html"
    if output is not None:
        return str(write_report(inputs, Path(output).expanduser()))
    store = open_store(out_url)
    store.write_bytes(name, render_report(inputs).encode("utf-8"))
    return joined(out_url, name)
