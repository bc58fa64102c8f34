"""The report of a sweep: one HTML page with plots, and the data of each plot as CSV.

`gather` reads a run folder into `findings`, `plots` has one file per plot, `sections` lists the plots of each section
of the page, and `page` renders `page.html.j2`. `provenance` keeps `made.json`: how the run was made.

May import `tuning.evaluation` and everything that it may import.
"""
