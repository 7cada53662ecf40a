"""OpenVINO on the CPU, from the same ONNX model that ONNX Runtime runs; inference only."""

from __future__ import annotations

import importlib.util
from typing import Any

from bench.onnx_model import layer_inputs, named_results, onnx_model
from bench.peers.base import Array, Peer
from bench.problems import Problem


class OpenVinoCpu(Peer):
    """One compiled model per problem and one request, arrays shared with it and not copied.

    On processors with AMX or AVX512-BF16 OpenVINO computes in bfloat16 unless it is told not to;
    here it is told to stay in float32.
    """

    name = "openvino"
    modes = ("inference", "stream")
    stacks = True

    @classmethod
    def available(cls) -> str | None:
        missing = [m for m in ("openvino", "onnx") if importlib.util.find_spec(m) is None]
        if missing:
            return f"{' and '.join(missing)} not installed; pip install 'fastrnn[bench-all]'"
        return None

    @classmethod
    def version(cls) -> str:
        import openvino

        return str(openvino.get_version()).split("-")[0]

    def prepare(
        self,
        problem: Problem,
        weights: dict[str, Array],
        x: Array,
        h_0: Array,
        c_0: Array | None,
        d_y: Array,
        threads: int,
    ) -> None:
        import openvino

        core = openvino.Core()
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        model = core.read_model(onnx_model(problem, weights), b"")
        self.request: Any = core.compile_model(model, "CPU", options).create_infer_request()
        self.problem, self.x = problem, x
        self.states = layer_inputs(problem, h_0, c_0)
        self.feed = {"X": x} | self.states

    def infer(self) -> None:
        self.outputs = self.request.infer(self.feed, share_inputs=True, share_outputs=True)

    def start_stream(self) -> None:
        outputs = [output.get_any_name() for output in self.request.model_outputs]
        self.carried = [f"initial_{name}" for name in outputs[1:]]
        self.feed = {"X": self.x[:1]} | self.states

    def step(self, t: int) -> Array:
        feed = self.feed
        feed["X"] = self.x[t : t + 1]
        results = self.request.infer(feed, share_inputs=True)  # outputs copied: states are fed back
        for k, name in enumerate(self.carried):
            feed[name] = results[k + 1]
        y: Array = results[0][0, 0]
        return y

    def results(self) -> dict[str, Array]:
        count = len(self.request.model_outputs)
        return named_results(self.problem, [self.outputs[k].copy() for k in range(count)])
