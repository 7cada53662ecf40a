"""The benchmark's result file, and two of them compared."""

from __future__ import annotations

import json

import pytest
from bench import record
from bench.compare import compare
from bench_example import example
from bench_runs import run


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
