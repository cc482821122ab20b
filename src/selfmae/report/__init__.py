"""The report: a self-contained HTML page made from the files of a run folder."""
