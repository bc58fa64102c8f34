"""The plots of the report, one file per plot.

Each file has a function that makes a `ReportPlot` from the `SweepFindings`, and a function `draw_…` that draws plain
values as SVG. To add a plot, add a file here and list its function in `tuning.report.sections`.

May import `tuning.report.findings`, but not `tuning.report.page`.
"""
