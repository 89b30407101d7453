"""The GPU measurements, rehearsed at a tiny size on the CPU so that they are known to run; no figure is looked at."""

import json
import sys

import pytest
import torch

from benchmarks import gpu


def test_without_a_gpu_it_says_so_in_a_line(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "no CUDA device" in err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler looks at what is deprecated
def test_every_part_runs(monkeypatch, capsys):
    compiled_without_a_compiler(monkeypatch)
    monkeypatch.setattr(sys, "argv", ["gpu", "--rehearse"])
    gpu.main()
    result = json.loads(capsys.readouterr().out)
    parts = gpu.parts(gpu.rehearsal())
    assert {name: result[name].get("error") for name in parts} == dict.fromkeys(parts)
    assert all(result[f"step_{variant}"]["ratio"] > 0 for variant in gpu.VARIANTS)
    for variant, tolerance in {"fp32": 1e-3, "bf16": 0.05, "bf16_compiled": 0.05}.items():
        assert max(result[f"step_{variant}"]["first_loss_difference"].values()) < tolerance
    assert result["animation"]["frames_a_second"] > 0


def test_a_part_that_fails_does_not_end_the_rest(monkeypatch):
    def fail() -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(gpu, "parts", lambda setting: {"first": fail, "second": lambda: 1})
    results = gpu.measure(gpu.rehearsal())
    assert results == {"first": {"error": "RuntimeError: out of memory"}, "second": 1}


def compiled_without_a_compiler(monkeypatch) -> None:
    """Trace and differentiate as torch.compile does, but run the result with PyTorch's own kernels."""
    original = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda module, **options: original(module, backend="aot_eager")
    )
