"""Decode video files: read packet times, plan what to decode, convert frames to RGB, report damage.

`decode.decode_clip` samples a fixed number of frames, `sliding_windows.SlidingWindows` walks through a long video.
May import the modules at the top of `data`, and nothing else of the project.
"""
