"""The report: tables, plots, pages and captions."""
