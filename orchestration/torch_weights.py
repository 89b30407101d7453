"""State dicts that torch.save wrote, as safetensors files."""

import io


def as_safetensors(torch_file: bytes) -> bytes:
    """The floating-point tensors of a state dict, by the same names.

    Nothing but tensors and plain values is unpickled. Counters, such as batch normalisation's, are left out.
    """
    import torch
    from safetensors.torch import save

    state = torch.load(io.BytesIO(torch_file), map_location="cpu", weights_only=True)
    return save({name: tensor.contiguous() for name, tensor in state.items() if tensor.is_floating_point()})
