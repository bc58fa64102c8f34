"""A page in the browser on which to try the champion on clips (Gradio).

May import the rest of `tuning.inference` and what that may import.
"""
