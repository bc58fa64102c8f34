"""Generated demo clips: a jointed figure doing exercises in random rooms.

They stand in for real data: files in several containers, sizes and frame rates, imbalanced classes, and several clips
of each group (one person in one room), so that a split by clip leaks. The two classes of `TIME_PAIR` are each other's
time reverse: neither a single frame nor an average over frames tells them apart. Imports nothing else of the project
but `data.errors`.
"""

from data.demo.exercises import TIME_PAIR
from data.demo.plan import DemoClip, plan_demo
from data.demo.writer import write_clips, write_demo

__all__ = ["TIME_PAIR", "DemoClip", "plan_demo", "write_clips", "write_demo"]
