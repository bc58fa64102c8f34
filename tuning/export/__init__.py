"""The champion as files for other programs: a `torch.export` graph, ONNX, and an MLflow pyfunc with its own code.

May import `tuning.training` and `tuning.config`.
"""
