"""Library errors by name: out of memory and lost devices, by the texts that torch and CUDA's libraries print.

Libraries raise plain ``RuntimeError`` for most of this, so the text is all there is. Only its first line counts: torch
appends general advice ("device-side assertions", "asynchronously reported") to every CUDA error.
"""

from __future__ import annotations

import errno

from lad_rllib.edge.errors import DeviceBroken, EdgeError, OutOfMemory, one_line

OUT_OF_MEMORY_TEXTS = (
    "out of memory",  # CUDA, HIP, MPS, XPU, the CUDA driver
    "hiperroroutofmemory",
    "cudaerrormemoryallocation",
    "cublas_status_alloc_failed",
    "hipblas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "allocation_failed",  # cuDNN 9: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED and ..._HOST_...
    "cufft_alloc_failed",
    "cusolver_status_alloc_failed",
    "cusparse_status_alloc_failed",
    "cusparse_status_insufficient_resources",
    "curand_status_allocation_failed",
    "nvml_success == r internal assert",  # torch fails while it words an out-of-memory message
    "can't allocate memory",  # DefaultCPUAllocator
    "cannot allocate memory",  # errno 12 in a library's words, such as a weights file that cannot be mapped
    "defaultcpuallocator: not enough memory",
    "not enough memory to allocate",
    "std::bad_alloc",
)
"""The device's or the machine's memory is full. The server can heal: memory is freed and less is asked for."""

DEVICE_BROKEN_TEXTS = (
    "an illegal memory access was encountered",
    "device-side assert triggered",
    "unspecified launch failure",
    "an illegal instruction was encountered",
    "misaligned address",
    "invalid program counter",
    "hardware stack error",
    "operation not supported on global/shared address space",
    "the launch timed out and was terminated",
    "uncorrectable ecc error encountered",
    "uncorrectable nvlink error",
    "invalid access of peer gpu memory over nvlink or a hardware error",
    "context is destroyed",
    "invalid device context",
    "driver shutting down",
    "no cuda-capable device is detected",
    "all cuda-capable devices are busy or unavailable",
    "cuda-capable device(s) is/are busy or unavailable",
    "gpu is lost",
    "unable to determine the device handle",
    "fallen off the bus",
    "unknown error",  # cudaErrorUnknown, mostly after the machine slept
    "cannot re-initialize cuda in forked subprocess",
)
"""The process has lost the device. Every later call fails the same way, so the process has to start again."""


def failure_kind(error: BaseException) -> type[EdgeError] | None:
    """The named error that a library's error amounts to, or None if it is neither of these.

    Returns:
        ``OutOfMemory``, ``DeviceBroken`` or None.

    >>> failure_kind(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")).name
    'out_of_memory'
    >>> failure_kind(RuntimeError("CUDA error: device-side assert triggered")).name
    'device_broken'
    """
    if isinstance(error, EdgeError):
        return None
    if is_out_of_memory(error):
        return OutOfMemory
    return DeviceBroken if _contains(error, DEVICE_BROKEN_TEXTS) and _is_of_device(error) else None


def named_error(
    error: BaseException, otherwise: type[EdgeError], server: str | None = None, task_id: str | None = None
) -> EdgeError:
    """An error under one of the room's names, with server and task filled in; a new object, since tasks do not share.

    Args:
        error: Any error.
        otherwise: Its name if none fits.
        server: Name of the server.
        task_id: The task.

    >>> named_error(ValueError("odd"), EdgeError, server="s1").to_dict()["message"]
    'ValueError: odd'
    """
    if isinstance(error, EdgeError):
        return type(error)(str(error), server=server, task_id=task_id)
    named = (failure_kind(error) or otherwise)(one_line(error), server=server, task_id=task_id)
    named.__cause__ = error
    return named


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device or the machine has no memory left.

    >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    True
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, (RuntimeError, OSError)) and _contains(error, OUT_OF_MEMORY_TEXTS)


def _contains(error: BaseException, texts: tuple[str, ...]) -> bool:
    lines = str(error).strip().lower().splitlines()
    return bool(lines) and any(text in lines[0] for text in texts)


def _is_of_device(error: BaseException) -> bool:
    """Whether a device's library raised it: other libraries use general words such as "unknown error", too."""
    first = (str(error).strip().lower().splitlines() or [""])[0]
    return isinstance(error, RuntimeError) and any(word in first for word in ("cuda", "hip", "nvml", "nvlink", "gpu"))
