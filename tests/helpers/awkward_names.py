"""Names whose characters mean something in URLs, in addresses of databases, in patterns of files, or in a shell."""

from __future__ import annotations

AWKWARD_FOLDER = "100% #1?x=1&y [2]*'ü;@$a"
"""MLflow can use everything in such a folder."""

ESCAPED_FOLDER = "a%20b %3F"
"""MLflow can't load a model by its local path from such a folder, as it decodes the path."""
