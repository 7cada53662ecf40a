"""The parts of ``python -m bench gpu-check`` that need no GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench.gpu import check, floors, microbenchmarks, shapes, speed
from bench.gpu.cudnn import SMALL, STANDARD, STATIC, algorithm
from bench.gpu.resources import nvcc
from bench.gpu.stages import Runner, Stage
from bench.gpu.timing import milliseconds
from tolerances import STORAGE_RELATIVE, relative_error

ROOT = Path(__file__).parents[2]


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_stage_that_fails_does_not_stop_the_next(tmp_path: Path) -> None:
    groups = [
        [Stage("good", python("print('all is well')"), 20)],
        [Stage("bad", python("print('it was like this'); raise SystemExit(3)"), 20)],
        [Stage("absent", ["no-such-program"], 20)],
        [Stage("slow", python("import time; print('begun', flush=True); time.sleep(60)"), 1)],
        [Stage("last", python("import os; print(os.environ['WORD'])"), 20, {"WORD": "set"})],
    ]
    seen = []

    def say(text: str) -> None:  # what is on disk after every stage
        document = json.loads((tmp_path / "gpu-check.json").read_text())
        seen.append([stage["result"] for stage in document.values()])

    assert not Runner(tmp_path, tmp_path, 60, say).run(groups)
    document = json.loads((tmp_path / "gpu-check.json").read_text())
    results = {name: stage["result"] for name, stage in document.items()}
    assert results == {
        "good": "passed", "bad": "failed (3)", "absent": "failed (it did not start)",
        "slow": "over its limit of 1 s", "last": "passed",
    }  # fmt: skip
    assert document["slow"]["output"] == "begun\n"
    assert document["last"]["output"] == "set\n"
    assert len(seen) == 5
    assert seen[0] == ["not run"] * 5  # told before it is written
    assert seen[4][:4] == list(results.values())[:4]
    text = (tmp_path / "gpu-check.txt").read_text()
    assert text.index("good") < text.index("bad") < text.index("== good: passed")
    assert "it was like this" in text
    assert "No such file or directory: 'no-such-program'" in text


def test_stages_of_a_group_run_at_the_same_time_and_nothing_outlives_them(tmp_path: Path) -> None:
    """Each waits for the other's file; one leaves a process behind, one runs out of time."""
    meet = (
        "import pathlib, time, sys\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "while not pathlib.Path(sys.argv[2]).exists(): time.sleep(0.01)\n"
    )
    leave = "import subprocess, sys\np = subprocess.Popen(['sleep', '60'])\nprint(p.pid)\n"
    hang = f"import time\n{leave}sys.stdout.flush()\ntime.sleep(60)"
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    one = Stage("one", [*python(meet), a, b], 20)
    two = Stage("two", [*python(meet), b, a], 20)
    left, hung = Stage("left", python(leave), 20), Stage("hung", python(hang), 2)
    Runner(tmp_path, tmp_path, 60).run([[one, two], [left, hung]])
    assert (one.result, two.result, left.result) == ("passed",) * 3
    assert hung.result == "over its limit of 2 s"
    for stage in (left, hung):
        state = Path(f"/proc/{int(stage.output)}/stat")
        for _ in range(500):  # killed, and reaped by whoever inherits it
            if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
                break
            time.sleep(0.01)
        else:
            pytest.fail(f"{stage.name} left a process")


def test_what_a_stage_found_is_kept_as_far_as_it_came(tmp_path: Path) -> None:
    write = "import pathlib, sys\npathlib.Path(sys.argv[1]).write_text(sys.argv[2])\n"
    found, broken, none = (tmp_path / name for name in ("found", "broken", "none"))
    late = Stage(
        "late", [*python(write + "import time\ntime.sleep(60)"), str(found), '{"rows": [1]}'], 2,
        data=found,
    )  # fmt: skip
    wrong = Stage("wrong", [*python(write), str(broken), "{"], 20, data=broken)
    silent = Stage("silent", python(""), 20, data=none)
    assert not Runner(tmp_path, tmp_path, 60).run([[late, wrong, silent]])
    document = json.loads((tmp_path / "gpu-check.json").read_text())
    assert document["late"]["found"] == {"rows": [1]}
    assert document["late"]["result"] == "over its limit of 2 s"
    assert wrong.result.startswith("failed (its results cannot be read: ")
    assert silent.result.startswith("failed (its results cannot be read: ")


def test_the_whole_run_has_a_limit(tmp_path: Path) -> None:
    groups = [[Stage("long", python("import time; time.sleep(60)"), 50)]]
    groups += [[Stage("late", python(""), 50)]]
    start = time.monotonic()
    assert not Runner(tmp_path, tmp_path, 6).run(groups)
    assert time.monotonic() - start < 20
    assert groups[0][0].result == "over its limit of 6 s"
    assert groups[1][0].result == "not run: the time of the whole check is over"


def all_stages() -> list[Stage]:
    return [stage for group in check.stages(Path("/nowhere"), "90") for stage in group]


def test_the_stages_fit_into_nine_minutes() -> None:
    groups = check.stages(Path("/nowhere"), "90")
    assert sum(max(stage.limit for stage in group) for group in groups) < 660
    assert check.TOTAL < 9 * 60  # what they may take together, whatever their limits
    names = [stage.name for stage in all_stages()]
    assert len(names) == len(set(names))


def test_every_command_names_what_exists() -> None:
    modules = set()
    for stage in all_stages():
        for word in stage.command:
            if word.startswith(("tests/", "bench/")):
                assert (ROOT / word).is_file(), stage.name
        if "-m" in stage.command:
            modules.add(stage.command[stage.command.index("-m") + 1])
    ours = {name for name in modules if name.startswith("bench.")}
    assert ours == {"bench.gpu.microbenchmarks", "bench.gpu.speed", "bench.gpu.versions"}
    for name in ours:
        assert (ROOT / f"{name.replace('.', '/')}.py").is_file()
    assert modules - ours == {"pytest", "pip"}
    install = check.install_command(Path("site"), "90")
    assert "-Ccmake.define.FASTRNN_CUDA_ARCHITECTURES=90" in install
    assert (Path(install[-1]) / "pyproject.toml").is_file()


@pytest.mark.parametrize(
    "stage", [s for s in check.suites() if "-k" in s.command], ids=lambda stage: stage.name
)
def test_every_suite_selects_tests_of_a_real_gpu_alone(stage: Stage) -> None:
    command = stage.command[stage.command.index(sys.executable) :]
    done = subprocess.run(
        [*command, "--collect-only"], cwd=ROOT, capture_output=True, text=True, timeout=120,
        env=os.environ | stage.environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    collected = [line for line in done.stdout.splitlines() if "::" in line]
    assert collected
    assert not any("emulated" in line for line in collected)


# Microseconds per step of research for an H100: LSTM, bfloat16, by H, for 1, 16 and 64 rows. The
# model here takes better of two ways at 64 rows and H = 2048, a product.
PUBLISHED = {
    128: (0.39, 0.39, 0.39), 256: (0.45, 0.52, 0.68), 512: (0.65, 0.79, 1.30),
    1024: (0.87, 1.26, 2.33), 2048: (1.36, 2.79, None), 4096: (20, 20, 20),
}  # fmt: skip


def test_floors_are_those_of_the_research() -> None:
    chip = replace(floors.Chip(), memory_gb_s=4300)
    for H, row in PUBLISHED.items():
        for B, us in zip((1, 16, 64), row, strict=True):
            if us is not None:
                found = floors.step_floor(chip, "lstm", "bfloat16", B, H, train=True)
                assert found.us == pytest.approx(us, rel=0.16), (H, B, found)


def test_floors_grow_with_the_work() -> None:
    chip = floors.Chip()
    for cell in floors.GATES:
        for dtype in floors.BYTES:
            steps = [floors.step_floor(chip, cell, dtype, B, 512).us for B in (1, 8, 64, 512)]
            assert steps == sorted(steps)
            assert steps[0] > 0
    few = floors.scan_floor(chip, "gru", "bfloat16", [10, 2, 2], 256)
    many = floors.scan_floor(chip, "gru", "bfloat16", [10, 10, 10], 256)
    assert 0 < few.us <= many.us
    assert floors.scan_floor(chip, "gru", "bfloat16", [0, 0], 256).us == 0
    sizes = ("lstm", "float16", [64] * 16, 64, 768, 768)
    forward, both = (floors.layer_floor(chip, *sizes, train).us for train in (False, True))
    assert both > 2 * forward


SAMPLE = {
    "device": {"name": "GPU", "processors": 100, "clock_ghz": 2.0, "compute_capability": 90},
    "error": None,
    "costs": [
        {"name": "flag hop", "value": 900.0, "unit": "ns", "sizes": {"peer": 1},
         "status": "measured"},
        {"name": "flag hop", "value": 800.0, "unit": "ns", "sizes": {"peer": 9},
         "status": "measured"},
        {"name": "cluster ring hop", "value": None, "unit": "ns", "sizes": {"blocks": 8},
         "status": "timed out"},
        {"name": "read from L2", "value": 5000.0, "unit": "GB/s", "sizes": {},
         "status": "measured"},
        {"name": "read from L2", "value": 25.0, "unit": "bytes/clock/processor", "sizes": {},
         "status": "measured"},
    ],
}  # fmt: skip


def test_measured_costs_take_the_place_of_published_ones() -> None:
    published = floors.Chip()
    chip = floors.measured(published, SAMPLE)
    assert (chip.processors, chip.ghz, chip.hop_us, chip.l2_rate) == (100, 2.0, 0.8, 25.0)
    assert chip.cluster_us == published.cluster_us  # it timed out
    assert chip.memory_gb_s == published.memory_gb_s  # nobody measured it


def test_costs_are_printed_and_judged() -> None:
    text = microbenchmarks.table(SAMPLE)
    assert "GPU, compute capability 9.0, 100 processors" in text
    assert "timed out" in text
    assert not microbenchmarks.sound(SAMPLE)
    measured = [cost for cost in SAMPLE["costs"] if cost["status"] == "measured"]
    assert microbenchmarks.sound(SAMPLE | {"costs": measured})
    assert not microbenchmarks.sound(SAMPLE | {"costs": measured, "error": "it broke"})


@pytest.mark.skipif(nvcc() is None, reason="no nvcc on the PATH")
@pytest.mark.parametrize("architecture", ["80", "90"])
def test_the_microbenchmarks_compile_without_a_warning(tmp_path: Path, architecture: str) -> None:
    program = tmp_path / "program"
    command = microbenchmarks.build_command(program, architecture)
    done = subprocess.run(command, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    if Path("/dev/nvidia0").exists():
        pytest.skip("there is a GPU: gpu-check runs them")
    assert microbenchmarks.main(["run", str(program), str(tmp_path / "costs.json")]) == 1
    assert not (tmp_path / "costs.json").exists()


def test_cudnns_algorithm_is_that_of_torchs_rules() -> None:
    def of(*sizes: object, packed: bool = False, backward: bool = False) -> str:
        return algorithm(*sizes, packed=packed, backward=backward)

    assert of("lstm", "float16", 16, 768, 768) == STATIC
    assert of("lstm", "bfloat16", 16, 768, 768) == STANDARD
    assert of("gru", "float16", 16, 768, 768) == STANDARD
    assert of("lstm", "float16", 17, 768, 768) == STANDARD
    assert of("lstm", "float16", 16, 768, 768, packed=True) == STANDARD
    assert of("rnn_tanh", "float16", 96, 896, 896) == STANDARD
    assert of("rnn_tanh", "float16", 96, 768, 768) == STATIC
    assert of("lstm", "float32", 3, 5, 192) == SMALL
    assert of("lstm", "float32", 3, 5, 192, backward=True) == STANDARD
    assert of("gru", "bfloat16", 3, 5, 128, backward=True) == SMALL
    assert of("rnn_relu", "float32", 3, 5, 384) == SMALL
    assert of("lstm", "float64", 3, 5, 32) == STANDARD


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_all_contenders_compute_the_same_layer(cell: str, dtype: str, ragged: bool) -> None:
    """On torch's CPU, the kernels emulated. The loop knows no lengths; its first row is whole."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    emulation = pytest.importorskip("fastrnn._emulation", reason="built without FASTRNN_TESTING")
    from bench.gpu import layers
    from torch.nn.utils.rnn import pad_packed_sequence

    shape = shapes.Shape(cell, dtype, 6, 9, 5, 20, ragged)
    ours = layers.stack(shape, emulation, "cpu")
    peer, loop = layers.cudnn(shape, "cpu"), layers.loop(shape, "cpu")

    def host(tensor: object) -> np.ndarray:
        return tensor.detach().to(torch.float64).numpy()

    def near(one: object, other: object) -> bool:
        return relative_error(host(one), host(other)) <= 4 * STORAGE_RELATIVE[dtype]

    y, peers_y = ours["forward"]()[0], peer["forward"]()[0]
    d_x, _, _, grads = ours["forward+backward"]()
    peers_grads, loops_grads = peer["forward+backward"](), loop["forward+backward"]()
    assert near(loop["forward"]()[:, 0], y[:, 0])
    if ragged:
        peers_y = pad_packed_sequence(peers_y)[0]
        assert len(peers_grads[0]) == sum(shape.lengths())
    elif cell != "rnn_relu" or dtype == "float32":  # a kink: gradients may be others' and right
        assert near(d_x, peers_grads[0])
        assert all(near(a, b) for a, b in zip(loops_grads, peers_grads, strict=True))
    assert near(y, peers_y)
    if dtype == "float32":
        assert all(near(a, b) for a, b in zip(grads, peers_grads[1:], strict=True))


def test_a_time_is_the_median_of_calls_after_a_warm_up() -> None:
    class Event:
        made = 0

        def record(self) -> None:
            Event.made += 1
            self.at = Event.made

        def synchronize(self) -> None:
            pass

    calls = []
    found = milliseconds(lambda: calls.append(1), Event, lambda a, b: float(b.at - a.at))
    assert found["ms"] == found["least_ms"] == 1.0
    assert len(calls) == found["calls"] + 2


def test_the_table_says_what_was_timed_and_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def times(shape: shapes.Shape) -> dict[str, object]:
        good = speed.attempt(
            lambda: {name: (lambda: None) for name in speed.PASSES}, lambda call: {"ms": 2.0}
        )
        bad = speed.attempt(lambda: 1 / 0, lambda call: {})
        plan = {"forward": {"plan": {"tier": "grid"}}, "backward": {"plan": {"tier": "streamed"}}}
        return {"fastrnn": good if shape.cell == "gru" else bad, "scan": {"chosen": plan},
                "cudnn": bad}  # fmt: skip

    monkeypatch.setattr(speed, "contenders", times)
    monkeypatch.setattr(speed, "GRID", [])
    costs = tmp_path / "costs.json"
    costs.write_text(json.dumps(SAMPLE))
    assert speed.main([str(tmp_path / "speed.json"), "--costs", str(costs)]) == 1  # lstm failed
    document = json.loads((tmp_path / "speed.json").read_text())
    assert [row["name"] for row in document["rows"]] == [s.name for s in shapes.NAMED]
    assert set(document["chips"]) == {"published", "measured"}
    first = document["rows"][0]
    assert first["algorithms"] == {"forward": STANDARD, "backward": STANDARD}
    assert first["times"]["fastrnn"]["forward"]["ms"] == 2.0
    printed = capsys.readouterr().out
    assert "gru/bfloat16/16x1024x768x768" in printed
    assert "grid; STANDARD" in printed
    assert "cudnn, forward: ZeroDivisionError: division by zero" in printed
    floor = first["floors"]["measured"]["forward"]["ms"]
    assert f"{100 * floor / 2.0:.0f}" in printed.splitlines()[1].split()


def test_ragged_lengths_are_drawn_once() -> None:
    shape = shapes.Shape("gru", "bfloat16", 64, 128, 256, 256, ragged=True)
    lengths = shape.lengths()
    assert lengths == shape.lengths()
    assert max(lengths) == lengths[0] == shape.T
    assert min(lengths) >= shape.T // 4
    assert len(set(lengths)) > 10
