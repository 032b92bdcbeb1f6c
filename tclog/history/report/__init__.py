"""The report: a run as one self-contained web page, for people.

``build_report`` reads the index and makes a JSON object; ``render_page`` puts it into a file with
the page's own style and script, from ``assets``.
"""

from tclog.history.report.data import EVENTS_MAX, Wanted, build_report
from tclog.history.report.page import render_page

__all__ = ["EVENTS_MAX", "Wanted", "build_report", "render_page"]
