"""The benchmark's tables, drawings and page."""

from __future__ import annotations

import re
import sys

import pytest
from bench import readme_tables, record
from bench.plot import draw_roofline, draw_speedups, draw_sweep
from bench.report import markdown, sections
from bench.sections import Figure, Section, to_html
from bench_example import example, with_roofline
from bench_runs import ROOT


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


def test_the_percent_of_the_floor_stands_beside_each_time():
    lines = markdown(with_roofline(example())).splitlines()
    (won,) = (line for line in lines if line.startswith("| (4,100,8,16) | 1 | **1.00**"))
    # 3 * 2 * 4 * 100 * 4*16 * (8+16) operations at 100 GFLOP/s are 0.0369 ms, of 1 ms
    assert won.endswith("| 3.69 | FMA |")
    assert "| 1 | 100 | 180.0 | 16.0 |" in lines
    # the best peers' 2 and 8 ms over floors of 0.0369 and 0.0737
    means = "Geometric mean of best/fastrnn: 1.26 with 1 thread, 76.73 if fastrnn ran at the floor."
    assert means in lines


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
