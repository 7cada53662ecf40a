"""What is asked of a GPU, and of the CUDA compiler: ``python -m bench gpu-check``, ``gpu-resources``.

Nothing in here is imported by the CPU's benchmark.
"""
