"""What is asked of a GPU and of the CUDA compiler: `gpu-check` and `gpu-resources` of bench.

Nothing in here is imported by the CPU's benchmark.
"""
