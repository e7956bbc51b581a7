"""The report: what the logs of jobs hold, as a page and as tables for a spreadsheet."""
