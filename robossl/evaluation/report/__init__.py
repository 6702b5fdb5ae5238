"""The evaluation report: sections, report.json and report.html."""
