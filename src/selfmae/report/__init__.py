"""The report: one offline HTML page made from the files of a run folder."""
