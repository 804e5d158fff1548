"""The texts that torch and CUDA's libraries print, as users have reported them, and what they mean."""

import errno

import numpy as np
import pytest

from lad_rllib.edge import DeviceBroken, EdgeServer, OutOfMemory, edge_error
from lad_rllib.edge.failures import failure_kind
from tests.edge.engines import SteppedEngine, task

ADVICE = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\nCompile with `TORCH_USE_CUDA_DSA` to enable "
    "device-side assertions.\n"
)

FULL = [
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 7.79 GiB of which 0 is free.",
    "CUDA error: out of memory" + ADVICE,
    "CUDA driver error: out of memory",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "cuFFT error: CUFFT_ALLOC_FAILED",
    "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
    "CUDA error: CUSPARSE_STATUS_ALLOC_FAILED when calling `cusparseCreate(handle)`",
    'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":838, please report a bug',
    "HIP out of memory. Tried to allocate 2.00 GiB.",
    "MPS backend out of memory (MPS allocated: 8.95 GB, other allocations: 68.36 MB, max allowed: 9.07 GB).",
    "XPU out of memory. Tried to allocate 1.00 GiB.",
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "8589934592 bytes. Error code 12 (Cannot allocate memory)",
    "[enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes.",
    "unable to mmap 4993448880 bytes from file <model.safetensors>: Cannot allocate memory (12)",
    "std::bad_alloc",
]

LOST = [
    "CUDA error: an illegal memory access was encountered" + ADVICE,
    "CUDA error: device-side assert triggered" + ADVICE,
    "CUDA error: unspecified launch failure" + ADVICE,
    "CUDA error: an illegal instruction was encountered",
    "CUDA error: misaligned address",
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA error: the launch timed out and was terminated",
    "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
    "CUDA error: unknown error",
    "CUDA driver error: context is destroyed",
    "HIP error: unspecified launch failure",
]


@pytest.mark.parametrize("text", FULL)
def test_every_face_of_full_memory_is_out_of_memory(text):
    assert failure_kind(RuntimeError(text)) is OutOfMemory


@pytest.mark.parametrize("text", LOST)
def test_every_face_of_a_lost_device_is_one_that_cannot_heal(text):
    assert failure_kind(RuntimeError(text)) is DeviceBroken and DeviceBroken.needs_restart


def test_real_allocations_that_fail_are_out_of_memory():
    import torch

    failures = []
    for attempt in (
        lambda: torch.empty(2**58, dtype=torch.uint8),  # the real text of the installed torch
        lambda: np.empty(2**58, np.uint8),
        lambda: bytearray(2**62),
    ):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            attempt()
        failures.append(caught.value)
    assert [failure_kind(failure) for failure in failures] == [OutOfMemory] * 3
    assert failure_kind(OSError(errno.ENOMEM, "no")) is OutOfMemory
    assert failure_kind(torch.OutOfMemoryError("whatever it says")) is OutOfMemory


@pytest.mark.parametrize(
    "error",
    [
        ValueError("out of memory"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("unknown error in the file of labels"),
        RuntimeError("CUDA error: invalid argument" + ADVICE),  # the advice speaks of assertions
        OSError(errno.ENOENT, "no such file"),
        RuntimeError(""),
    ],
)
def test_an_error_that_is_neither_stays_what_it_is(error):
    assert failure_kind(error) is None


@pytest.mark.parametrize(("text", "kind"), [(FULL[3], OutOfMemory), (LOST[0], DeviceBroken)])
def test_a_server_and_its_client_give_any_engines_error_the_same_name(text, kind):
    with EdgeServer("s1", SteppedEngine(error=RuntimeError(text))) as server, pytest.raises(kind) as caught:
        server.generate(task())
    assert caught.value.server == "s1" and "\n" not in str(caught.value)
    assert type(edge_error(RuntimeError(text))) is kind
