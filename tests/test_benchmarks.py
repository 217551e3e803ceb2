"""The programs in benchmarks/: what they conclude, without their measurements."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cases
import gpu
import pytest
import tables
import torch

from rawzoo import ops

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_the_gpu_check_says_in_one_sentence_that_there_is_no_gpu(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--output", str(tmp_path / "gpu.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("No GPU: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "gpu.json").exists()


def test_the_gpu_check_finds_that_the_reference_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    few = cases.one_of_each(lambda c: (c.op, c.options.get("method"), c.step))
    monkeypatch.setattr(gpu, "cases", lambda: few)
    found = gpu.correctness("reference", seconds=250)
    assert found["failures"] == []
    assert found["ops_without_a_case"] == []
    assert found["cases_left_for_lack_of_time"] == 0
    assert found["cases"] == len(few) >= 20
    assert found["checks"] > 10 * len(few)


def test_the_gpu_check_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong = ops.pack, []

    def sometimes_wrong(x: Any, *args: Any, out: Any = None, **options: Any) -> Any:
        result = right(x, *args, out=out, **options)
        if out is not None and not out.is_contiguous():
            result[2, -1, -1] += 0.01
            wrong.append(1)
        return result

    monkeypatch.setattr(ops, "pack", sometimes_wrong)
    monkeypatch.setattr(gpu, "cases", lambda: [c for c in cases.cases() if c.op in ("pack", "unpack")])
    found = gpu.correctness("reference", seconds=60, quick=True)
    assert len(wrong) >= 6
    assert {f["case"].split()[0] for f in found["failures"]} == {"pack"}
    assert {f["way"].partition(",")[0] for f in found["failures"]} == {"strided"}

    monkeypatch.setattr(ops, "pack", lambda *a, **k: 1 / 0)
    broken = gpu.correctness("reference", seconds=60, quick=True)["failures"]
    assert all(f["error"].startswith("ZeroDivisionError") for f in broken)


def test_running_out_of_time_is_said() -> None:
    assert gpu.correctness("reference", seconds=0.0)["cases_left_for_lack_of_time"] > 100


RECORD = {
    "datetime": "2026-01-02T03:04:05+00:00",
    "commit_info": {"id": "0123456789abcdef", "dirty": False},
    "machine_info": {
        "cpu": {"brand_raw": "A CPU"}, "machine": "x86_64", "system": "Linux", "cores": 2, "memory_gib": 23.5,
        "load": [0.5, 0, 0], "python": "3.11.7", "versions": {"numpy": "2.4.6", "kornia": None},
        "ops": {"cpu": "native (avx2)"},
    },
    "benchmarks": [
        {
            "group": "pack",
            "extra_info": {
                "name": "pack u16 -> float32", "megapixels": 12, "threads": 1, "ms": {"min": 2.0, "median": 2.5},
                "accuracy": {"equal": 0.5},
                "peers": {
                    "memcpy": {"times_as_fast": 0.8, "goal": {"must": 1.2, "stretch": None, "kind": "time"}},
                    "NT copy": {"times_as_fast": 0.5, "goal": {"must": None, "stretch": 1.2, "kind": "time"}},
                    "NumPy": {"times_as_fast": 5.0, "goal": {"must": 4, "stretch": None, "kind": "speed"}},
                    "torch": {"times_as_fast": 0.5},
                },
            },
        },
        {
            "group": "networks",
            "extra_info": {
                "name": "net", "megapixels": 0.5, "threads": 2, "ms": {"min": 900.0, "median": 1000.0},
                "accuracy": {"equal": 1.0},
                "peers": {
                    "plain torch": {"times_as_fast": 0.9, "goal": {"must": 1.0, "stretch": None, "kind": "speed"}}
                },
            },
        },
        {
            "group": "call overhead",
            "extra_info": {"name": "call", "us": {"min": 3.0}, "torch_add_us": 1.0, "goal": {"must": 10, "stretch": 4}},
        },
        {"group": "quality", "extra_info": {"psnr": {"Bayer": {"a": 30.0, "b": 35.25, "c": None}}, "protocol": "so"}},
    ],
}  # fmt: skip


def test_tables_show_hits_misses_losses_and_wrong_results() -> None:
    assert "| net | 0.5 | 2 | 900 / 1000 | 2.00 | 0.90 | **no** |" in tables.networks(RECORD)
    assert "| net |" not in tables.times(RECORD)
    goals = [line for line in tables.goals(RECORD).splitlines() if "| net |" not in line]
    assert goals[2].endswith("| x memcpy | 1.25 | <= 1.2 |  | **no** |")
    assert goals[3].endswith("| x NT copy | 2.00 |  | <= 1.2 | missed |")
    assert goals[4].endswith("| x as fast as NumPy | 5.00 | >= 4 |  | yes |")
    assert goals[5].endswith("| 3.00 | <= 10 | <= 4 | stretch |")
    times = tables.times(RECORD)
    assert "**differs from the reference** | 12 | 1 | 2.00 / 2.50 | 1.25 | 2.00 | NumPy 5.00, torch 0.50 |" in times
    quality = tables.quality(RECORD)
    assert quality.index("b | 35.25") < quality.index("a | 30.00")
    assert "| c |" not in quality
    assert "Not installed, so not compared: kornia." in tables.machine(RECORD)


GPU = {
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"gpu": "A GPU", "driver": "1.2", "torch": "2.11", "cuda": "13.0", "commit": "0123456789abcdef"},
    "copy_gb_per_s": 4000.0,
    "call_overhead_us": 7.5,
    "correctness": {"checks": 9, "failures": [{}], "ops_without_a_case": ["new"], "cases_left_for_lack_of_time": 3},
    "sanitizer": {"memcheck": "ERROR SUMMARY: 0 errors", "racecheck": "not finished within 50 s"},
    "speed": [
        {"name": "pack", "megapixels": 12, "us": 20.0, "gb_per_s": 3600.0, "fraction": 0.9, "must": 0.85},
        {"name": "demosaic", "megapixels": 12, "us": 50.0, "gb_per_s": 2000.0, "fraction": 0.5, "must": 0.75},
    ],
    "speed_left_for_lack_of_time": 0,
}


def test_the_gpu_table_names_what_is_left_open() -> None:
    text = tables.gpu(GPU)
    assert "| pack | 12 | 20.0 | 3600 | 0.90 | >= 0.85 | yes |" in text
    assert "| demosaic | 12 | 50.0 | 2000 | 0.50 | >= 0.75 | **no** |" in text
    assert "9 comparisons with the CPU, 1 failures" in text
    points = text[text.index("### What") :]
    assert "* the op new\n* 3 variants" in points
    assert "memcheck" not in points
    assert "racecheck: not finished" in points


def test_tables_fill_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, record = tmp_path / "benchmarks.md", tmp_path / "latest.json"
    page.write_text(tables.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    record.write_text(json.dumps(RECORD), encoding="utf-8")
    monkeypatch.setattr(tables, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["tables.py", str(record)])
    tables.main()
    first = page.read_text(encoding="utf-8")
    assert "A CPU, 2 cores" in first
    tables.main()
    assert page.read_text(encoding="utf-8") == first
