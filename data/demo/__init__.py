"""Generated demo clips: an articulated figure that does exercises, filmed in random rooms.

Imports nothing else of the project but `data.errors`.
"""
