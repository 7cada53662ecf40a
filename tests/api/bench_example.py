"""A result file that was never measured, for the tests of what is made of one."""

from __future__ import annotations

from bench import record


def example():
    """fastrnn wins one problem by 2x, loses another by 0.8x; ONNX Runtime was refused once."""

    def measurement(peer, ms, mode="training", T=100, threads=1, **more):
        return record.Measurement(
            cell="lstm", mode=mode, B=4, T=T, I=8, H=16, threads=threads, peer=peer,
            status="timed", median_ms=ms, p10_ms=0.9 * ms, p90_ms=1.1 * ms, gflops=50 / ms, **more,
        )  # fmt: skip

    refused = record.Measurement(
        "lstm", "inference", 4, 100, 8, 16, 1, "onnxruntime", "refused", "y is off by 0.1"
    )
    peers = [
        record.PeerFacts("fastrnn_cpu", "fastrnn", "1", None),
        record.PeerFacts("torch_cpu", "torch", "2", None),
        record.PeerFacts("numpy_loop", "numpy", "3", None),
        record.PeerFacts("onnxruntime_cpu", "onnxruntime", "4", None),
    ]
    machine = {
        "cpu": "A CPU", "cpu_family": "1", "cpu_model": "2", "cpus_usable": 2, "cores_usable": 2,
        "caches": {"L2 Unified": "2048K"}, "memory_bytes": 2**34, "system": "Debian",
        "kernel": "6", "flags": ["avx2"],
    }  # fmt: skip
    return record.Document(
        date="2020-01-02T03:04:05+00:00", command=["run"], complete=True,
        git={"commit": "abc", "dirty": False}, machine_name="a-cpu", machine=machine,
        versions={"python": "3", "numpy": "3"}, settings={}, peers=peers, fma_unavailable=None,
        canary=[
            record.CanarySample(1, "first", 80.0, 100.0),
            record.CanarySample(1, "second", 84.0, 98.0),
            record.CanarySample(1, "third", 40.0, 60.0),
        ],
        measurements=[
            measurement("fastrnn", 1.0), measurement("torch", 2.0), measurement("numpy", 30.0),
            measurement("fastrnn", 10.0, T=200), measurement("torch", 8.0, T=200),
            measurement("fastrnn", 5.0, mode="inference", strangers_cpus=0.7),
            measurement("torch", 20.0, mode="inference"), refused,
        ],
    )  # fmt: skip


def with_roofline(document):
    levels = [record.Level("L2", 2**20, 2**21, 180.0), record.Level("DRAM", 2**28, 2**34, 16.0)]
    document.rooflines = [record.Roofline(1, 100.0, levels)]
    return document
