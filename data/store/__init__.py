"""The frame store: decoded frames of all clips, memory-mapped by every worker of a node.

Each clip is decoded once, for every trial, epoch and worker; `frame_store.FrameStore` is the interface to the rest.
May import `data.video` and the modules at the top of `data`.
"""
