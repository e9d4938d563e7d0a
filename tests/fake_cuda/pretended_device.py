"""Pretends one CUDA device in this process, for fake tensors: they have shapes, dtypes and a device, but no numbers.

Operations on tensors of different devices raise, as on a GPU. Nothing is computed, so values are never checked here.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import _disable_current_modes

SOURCE = Path(__file__).with_name("guard.cpp")
MEMORY = 80 * 2**30

pinned: set[int] = set()
"""Storages that were pinned."""

_kept: list[Tensor] = []
"""Their tensors, so that no other storage comes to have the same address."""


def reason_for_none() -> str | None:
    """Why no device can be pretended here, as a sentence; None: one can."""
    if torch.cuda.is_available():
        return "There is a GPU here, which need not be pretended."
    if torch.version.cuda is None:
        return "A device can be pretended only in a build of torch for CUDA."
    if shutil.which("g++") is None:
        return "The guard of the pretended device needs g++."
    if not (Path(torch.__file__).parent / "include" / "ATen" / "detail" / "CUDAHooksInterface.h").exists():
        return "The guard of the pretended device needs torch's headers."
    return None


def guard_library() -> Path:
    """The compiled guard, made once per version of torch and of the guard.

    Raises:
        subprocess.CalledProcessError: it cannot be compiled; the compiler's words are in ``stderr``.
    """
    content = SOURCE.read_bytes() + torch.__version__.encode()
    library = Path(tempfile.gettempdir()) / f"pretended-cuda-{hashlib.sha256(content).hexdigest()[:16]}.so"
    if library.exists():
        return library
    root = Path(torch.__file__).parent
    headers = [f"-I{root / 'include'}", f"-I{root / 'include' / 'torch' / 'csrc' / 'api' / 'include'}"]
    linked = [f"-L{root / 'lib'}", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{root / 'lib'}"]
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        part = Path(folder) / library.name
        command = ["g++", "-shared", "-fPIC", "-std=c++20", "-w", str(SOURCE), "-o", str(part), *headers, *linked]
        subprocess.run(command, check=True, capture_output=True, text=True)
        part.replace(library)
    return library


def pretend() -> None:
    """Pretend the device from now on, for this whole process."""
    ctypes.CDLL(str(guard_library())).pretend_cuda()
    properties = SimpleNamespace(
        name="pretended", major=8, minor=0, total_memory=MEMORY, multi_processor_count=108, uuid="", gcnArchName="",
        warp_size=32, max_threads_per_multi_processor=2048, regs_per_multiprocessor=65536, L2_cache_size=40 << 20,
        shared_memory_per_block_optin=166912,
    )  # fmt: skip
    state = torch.zeros(16, dtype=torch.uint8)
    answers: dict[str, Any] = {
        "is_available": True, "is_initialized": True, "device_count": 1, "current_device": 0,
        "get_device_name": "pretended", "get_device_capability": (8, 0), "get_device_properties": properties,
        "get_arch_list": ["sm_80"],
        "mem_get_info": (MEMORY, MEMORY), "memory_allocated": 0, "max_memory_allocated": 0, "is_bf16_supported": True,
        "is_current_stream_capturing": False, "_is_in_bad_fork": False, "get_rng_state": state,
        "get_rng_state_all": [state],
    }  # fmt: skip
    nothing = (
        "set_device", "_lazy_init", "init", "synchronize", "empty_cache", "reset_peak_memory_stats", "manual_seed",
        "manual_seed_all", "set_rng_state", "set_rng_state_all",
    )  # fmt: skip
    for name, answer in (answers | dict.fromkeys(nothing)).items():
        setattr(torch.cuda, name, lambda *args, _answer=answer, **named: _answer)
    fake_tensor.init_gpu_context = lambda device: None  # torch 2.11 would make a real tensor first
    torch.accelerator.is_available = lambda: True
    torch.accelerator.current_accelerator = lambda check_available=False: torch.device("cuda")
    torch.Tensor.pin_memory = _pin  # type: ignore[method-assign]
    torch.Tensor.is_pinned = lambda tensor, device=None: storage_of(tensor) in pinned  # type: ignore[method-assign]
    torch.nn.Module._apply = _apply  # type: ignore[method-assign]
    torch.Tensor.__deepcopy__ = _deepcopy  # type: ignore[method-assign]


def _apply(module: torch.nn.Module, convert: Any, recurse: bool = True) -> torch.nn.Module:
    """As torch's, with new parameters in place of the old: a fake one cannot be given the data of another device."""
    for child in module.children() if recurse else ():
        child._apply(convert)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            module._parameters[name] = torch.nn.Parameter(convert(parameter.detach()), parameter.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = convert(buffer)
    return module


def _deepcopy(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """As torch's, without a storage of its own to be filled."""
    if id(tensor) not in memo:
        copy = tensor.detach().clone()
        is_parameter = isinstance(tensor, torch.nn.Parameter)
        memo[id(tensor)] = torch.nn.Parameter(copy, tensor.requires_grad) if is_parameter else copy
    return memo[id(tensor)]


def storage_of(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _pin(tensor: Tensor, device: Any = None) -> Tensor:
    if isinstance(tensor, FakeTensor):
        copy = tensor.clone()
    else:
        with _disable_current_modes():
            copy = tensor.clone()
    pinned.add(storage_of(copy))
    _kept.append(copy)
    return copy
