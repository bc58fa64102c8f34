"""Programs that measure speed, memory and accuracy, one per file; `README.md` has their results.

Each is run as `python -m benchmarks.NAME` and prints a Markdown table. They may import all packages of the project; no
package imports them. What several of them share is in `helpers`.
"""
