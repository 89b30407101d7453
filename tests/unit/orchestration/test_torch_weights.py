import io
import pickle

import pytest
import torch
from safetensors.torch import load

from orchestration.torch_weights import as_safetensors


def saved(state):
    memory = io.BytesIO()
    torch.save(state, memory)
    return memory.getvalue()


def test_the_same_tensors_without_counters():
    state = {"weight": torch.randn(3, 2).T, "bias": torch.randn(2), "num_batches_tracked": torch.tensor(5)}
    kept = load(as_safetensors(saved(state)))
    assert kept.keys() == {"weight", "bias"}
    assert torch.equal(kept["weight"], state["weight"])
    assert torch.equal(kept["bias"], state["bias"])


def test_code_in_the_file_is_not_run(tmp_path):
    class Code:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    with pytest.raises(pickle.UnpicklingError):
        as_safetensors(saved({"weight": Code()}))
    assert not (tmp_path / "ran").exists()
