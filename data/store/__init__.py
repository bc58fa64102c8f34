"""The frame store: decoded frames of all clips, memory-mapped by every worker of a node.

May import `data.video`.
"""
