"""`genifer watch`: the progress of runs, from the files that their jobs write."""
