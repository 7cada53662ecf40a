"""The benchmark's result file, its tables and bars, and the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bench import readme_tables, record
from bench.compare import compare
from bench.plot import draw_roofline, draw_speedups, draw_sweep
from bench.problems import Shape
from bench.report import markdown, sections
from bench.run import Runner, Settings
from bench.sections import Figure, Section, to_html
from bench.timing import Effort

ROOT = Path(__file__).resolve().parents[2]
TINY = Shape("tiny", B=2, T=5, I=3, H=7, why="seconds matter in a test")
SHORT = Effort(rounds=2, seconds=0.002, most_seconds=0.01, fewest_rounds=2)


def run(path, report=lambda line, settled: None, cells=("lstm",)):
    """A run of the NumPy loop alone."""
    settings = Settings(
        list(cells), ["inference"], [TINY], [1], ["numpy_loop"], SHORT, roofline=False
    )
    return Runner(settings, path / "result.json", ["run"], report).run()


def bench_command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


# --- the result file -------------------------------------------------------------------------


def test_the_result_file_is_read_back_as_it_was(tmp_path):
    document = run(tmp_path)
    path = tmp_path / "result.json"
    assert record.read(path) == document
    data = json.loads(path.read_text())
    assert data["schema"] == record.SCHEMA
    assert data["complete"] is True
    assert {"cpu", "flags", "caches", "memory_bytes", "kernel"} <= set(data["machine"])
    assert data["canary"][0]["sgemm_gflops"] > 0
    assert [f.name for f in tmp_path.iterdir()] == ["result.json"]  # no temporary file is left


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema="other"), "is not a result file with schema"),
        (lambda d: d.pop("canary") and d.pop("peers"), r"missing fields \['peers'\]"),
        (lambda d: d["measurements"][0].update(speed=1), r"unknown \['speed'\]"),
        (lambda d: d["measurements"][0].update(status="fine"), "status 'fine', expected one of"),
        (lambda d: d["measurements"][0].update(median_ms=None), "without a positive median_ms"),
    ],
)
def test_a_file_that_is_no_result_is_refused(tmp_path, change, message):
    path = tmp_path / "result.json"
    record.write(example(), path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=message):
        record.read(path)


def test_an_interrupted_run_keeps_what_was_timed(tmp_path):
    def interrupt(line, settled):
        if "gru" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, interrupt, cells=["lstm", "gru"])
    document = record.read(tmp_path / "result.json")
    assert [(m.cell, m.status) for m in document.measurements] == [("lstm", "timed")]
    assert not document.complete
    assert "The run was interrupted" in markdown(document)


# --- the report ------------------------------------------------------------------------------


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


def test_the_tables_show_medians_ratios_and_percent_of_peak():
    lines = markdown(example()).splitlines()
    header = "| shape | threads | fastrnn | torch | numpy | fastrnn p25-p75 | best peer | "
    assert header + "best/fastrnn | torch/fastrnn | GFLOP/s | % of FMA peak |" in lines
    won = "| (4,100,8,16) | 1 | **1.00** | 2.00 | 30.0 | 0.900 to 1.10 | torch | 2.00x | 2.00x | "
    lost = "| (4,200,8,16) | 1 | 10.0 | **8.00** | - | 9.00 to 11.0 | torch | 0.80x | 0.80x | "
    assert won + "50.0 | 50.0 |" in lines
    assert lost + "5.00 | 5.00 |" in lines
    text = "\n".join(lines)
    assert "Geometric mean of best/fastrnn: 1.26 with 1 thread." in text  # sqrt(2 * 0.8)
    assert "| 1 | 100 | 80 | 40 to 84 |" in text
    assert "a-cpu" in text
    assert "commit abc" in text


def test_every_loss_refusal_and_disturbance_is_listed():
    text = markdown(example())
    assert "1 of 4 comparisons" in text
    assert (
        "- LSTM, training step, (4,200,8,16), 1 thread: torch 8.00 ms, fastrnn 10.0 ms (0.80x)\n"
        in text
    )
    assert "onnxruntime, LSTM, inference, (4,100,8,16), 1 thread: refused: y is off by 0.1" in text
    assert "- LSTM, inference, (4,100,8,16), 1 thread: other processes used up to 0.70 CPUs" in text
    assert "| (4,100,8,16) | 1 | **~5.00** | 20.0 |" in text
    assert "third, 1 thread: SGEMM beforehand only 40 GFLOP/s, the run's median is 80" in text


def test_a_disturbed_ratio_is_left_out_of_the_mean():
    document = example()
    assert "Geometric mean" not in markdown(document).split("## LSTM, inference")[1]
    document.measurements[0].strangers_cpus = 0.9  # fastrnn where it wins by 2x
    assert "best/fastrnn: 0.80 with 1 thread (1 disturbed left out)." in markdown(document)


def test_a_report_without_fastrnn_says_that_nothing_is_compared():
    document = example()
    document.measurements = [m for m in document.measurements if m.peer != "fastrnn"]
    text = markdown(document)
    assert "Nothing to compare" in text
    assert "best/fastrnn |" not in text


def test_the_bars_are_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="the bars need matplotlib")
    path = tmp_path / "bars.png"
    draw_speedups(example(), path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(RuntimeError, match=r"pip install 'fastrnn\[bench\]'"):
        draw_speedups(example(), tmp_path / "bars.png")


def with_roofline(document):
    levels = [record.Level("L2", 2**20, 2**21, 180.0), record.Level("DRAM", 2**28, 2**34, 16.0)]
    document.rooflines = [record.Roofline(1, 100.0, levels)]
    return document


def test_the_percent_of_the_floor_stands_beside_each_time():
    lines = markdown(with_roofline(example())).splitlines()
    (won,) = (line for line in lines if line.startswith("| (4,100,8,16) | 1 | **1.00**"))
    # 3 * 2 * 4 * 100 * 4*16 * (8+16) operations at 100 GFLOP/s are 0.0369 ms, of 1 ms
    assert won.endswith("| 3.69 | FMA |")
    assert "| 1 | 100 | 180.0 | 16.0 |" in lines


def test_the_roofline_is_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="drawings need matplotlib")
    path = tmp_path / "roofline.png"
    draw_roofline(with_roofline(example()), path)
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no roofline in the file"):
        draw_roofline(example(), path)


def test_a_sweep_is_drawn_and_another_run_is_not(tmp_path):
    pytest.importorskip("matplotlib", reason="drawings need matplotlib")
    path = tmp_path / "sweep.png"
    document = example()
    with pytest.raises(ValueError, match="no sweep in the file"):
        draw_sweep(document, path)
    sizes = [{"B": 4, "T": T, "I": 8, "H": 16, "axis": "T"} for T in (100, 200)]
    document.settings = {"shapes": sizes}
    draw_sweep(document, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_page_needs_nothing_else_and_marks_losses():
    parts = sections(with_roofline(example()))
    parts.insert(1, Section("Figures", [Figure("a <drawing>", b"\x89PNG data")]))
    page = to_html(parts)
    assert page.count('<tr class="loss">') == 1
    assert '<img alt="a &lt;drawing&gt;" src="data:image/png;base64,' in page
    assert "<strong>8.00</strong>" in page
    assert not re.search(r"(src|href)=.https?:", page)


def test_the_readme_shows_what_its_command_prints():
    text = (ROOT / "README.md").read_text()
    (arguments,) = re.findall(r"^python -m bench (report \S+ --readme)$", text, re.MULTILINE)
    shown = re.search(r"<!-- printed by the command above -->\n(.*)<!-- end -->", text, re.DOTALL)
    assert readme_tables.markdown(record.read(ROOT / arguments.split()[1])) == shown[1]


def test_readme_tables_name_the_best_peer_and_every_loss():
    text = readme_tables.markdown(example())
    assert "| (4,100,8,16) | **1.00** | 2.00 torch | 2.00x |" in text
    assert "| (4,200,8,16) | 10.0 | **8.00 torch** | 0.80x |" in text
    assert "behind torch (0.80x)" in text


# --- two files -------------------------------------------------------------------------------


def test_a_file_compared_with_itself_has_no_changes():
    text, slower = compare(example(), example(), "fastrnn")
    assert slower == 0
    assert "over 3 problems: 1.000" in text
    assert "quicker" not in text


def test_what_is_slower_beyond_the_noise_is_named():
    after = example()
    for m in after.measurements[:1]:  # fastrnn at the first problem
        m.median_ms, m.p10_ms, m.p90_ms = 2.0, 1.9, 2.1
    text, slower = compare(example(), after, "fastrnn")
    assert slower == 1
    assert "- LSTM, training step (4,100,8,16), 1 thread: 0.50x" in text
    assert "measurements of peers that did not change (torch, numpy, onnxruntime)" in text


def test_what_the_rounds_do_not_agree_on_is_noise():
    before, after = example(), example()
    before.measurements[0].round_medians_ms = [1.0, 1.6]
    after.measurements[0].median_ms = 1.2
    after.measurements[0].p10_ms, after.measurements[0].p90_ms = 1.15, 1.3
    _, slower = compare(before, after, "fastrnn")
    assert slower == 0


def test_files_without_a_common_problem_are_refused():
    with pytest.raises(ValueError, match="no timed problem of 'openvino' in common"):
        compare(example(), example(), "openvino")


# --- the command line ------------------------------------------------------------------------


def test_compare_from_the_command_line_tells_by_its_exit_status(tmp_path):
    before, after = example(), example()
    for m in after.measurements:
        m.median_ms, m.p10_ms, m.p90_ms = m.median_ms and 3 * m.median_ms, 2.9, 3.1
    after.measurements[0].median_ms = 3.0
    record.write(before, tmp_path / "a.json")
    record.write(after, tmp_path / "b.json")
    assert bench_command("compare", tmp_path / "a.json", tmp_path / "a.json").returncode == 0
    assert bench_command("compare", tmp_path / "a.json", tmp_path / "b.json").returncode == 1


def test_run_and_report_from_the_command_line(tmp_path):
    path = tmp_path / "result.json"
    done = bench_command(
        "run", "--quick", "--cells", "gru", "--modes", "inference", "--shapes", "2x5x3x7",
        "--threads", "1", "--peers", "fastrnn_cpu,numpy_loop", "--out", path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "[2/2] gru/inference/2x5x3x7 1T numpy: " in done.stderr  # one line per measurement
    document = record.read(path)
    assert [(m.peer, m.status) for m in document.measurements] == [
        ("fastrnn", "timed"),
        ("numpy", "timed"),
    ]
    assert "## GRU, inference" in done.stdout
    again = bench_command("report", path)
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["report", "no_such_file.json"], "No such file"),
        (["run", "--shapes", "1x2x3"], "expected four positive sizes"),
        (["run", "--peers", "nobody"], "expected some of fastrnn_cpu"),
        (["run", "--cells", "transformer"], "expected some of lstm, gru, rnn"),
        (["run", "--threads", "0"], "expected thread counts from 1"),
    ],
)
def test_a_mistake_on_the_command_line_gets_one_sentence_and_exit_code_2(arguments, sentence):
    done = bench_command(*arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
