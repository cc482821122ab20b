"""The data doctor: reads every file once and reports what is wrong with a data set."""
