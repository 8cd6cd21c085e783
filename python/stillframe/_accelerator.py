"""THE door to accelerators: where a tensor is, on which stream a GPU computes at this moment, whether a graph is being
captured. torch answers; the tests on a fake of the driver put their own answers in place."""

from __future__ import annotations

import torch

HOST = -1  # as SF_HOST
STAGED = -2  # an accelerator that the library does not copy from: brought to the host in the call


def device_of(tensor: torch.Tensor) -> int:
    """The ordinal of the GPU, HOST or STAGED."""
    device = tensor.device
    if device.type == "cpu":
        return HOST
    if device.type != "cuda" or torch.version.hip is not None:
        return STAGED
    return torch.cuda.current_device() if device.index is None else device.index


def stream_of(gpu: int) -> int:
    """The current stream of that GPU, as an integer."""
    return int(torch.cuda.current_stream(gpu).cuda_stream)


def to_host(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the host, which waits for it."""
    return tensor.to("cpu")


def capturing() -> bool:
    """Whether the current stream records a graph: nothing given to it now would run."""
    # Before torch has begun with CUDA no stream can be captured, and asking would begin with it.
    return bool(torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing())  # type: ignore[no-untyped-call]
