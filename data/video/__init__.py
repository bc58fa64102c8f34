"""Read videos: containers, time stamps, pictures, and the frames that are wanted.

May import `data.errors` and the other modules at the top of `data`.
"""
