"""The evaluation report: report.json and report.html."""
