"""The error tree.

Each class has the exit code that the command line ends with and the errno that a reader of the
mount sees. A message names the thing, what was expected, what was found, and what to do; secrets
and signed URLs are never part of one. `docs/exit-codes.md` is made from this file.
"""

from __future__ import annotations

import errno
import re
from typing import ClassVar


class HardtackError(Exception):
    """Something went wrong that a person can act on.

    `message` says what and where, `remedy` what to do about it (a sentence, or empty).
    """

    exit_code: ClassVar[int] = 10
    errno: ClassVar[int] = errno.EIO
    summary: ClassVar[str] = "any other error of hardtack's own"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()


class ConfigError(HardtackError):
    exit_code = 11
    errno = errno.EINVAL
    summary = "an option, environment variable or configuration file says something unusable"


class FileError(HardtackError):
    exit_code = 12
    summary = "a file can't be read, made or written, for a reason of the system's"


class SourceError(HardtackError):
    exit_code = 20
    summary = "the source answered with something that can't be used"


class SourceUnreachable(SourceError):
    exit_code = 21
    errno = errno.EHOSTUNREACH
    summary = "the source can't be reached: refused, timed out, no such host, TLS failure"


class AccessDenied(SourceError):
    exit_code = 22
    errno = errno.EACCES
    summary = "the source refuses these credentials, or there are none"


class NotFound(SourceError):
    exit_code = 23
    errno = errno.ENOENT
    summary = "the source has no such bucket, prefix, object or image"


class ObjectChanged(SourceError):
    exit_code = 24
    errno = errno.ESTALE
    summary = "the object is no longer the one that the catalogue names"


class CorruptReply(SourceError):
    exit_code = 25
    summary = (
        "the source's reply is not what was asked for: status, range, ETag, length or checksum"
    )


class CacheError(HardtackError):
    exit_code = 30
    summary = "the cache directory can't be used"


class CacheBusy(CacheError):
    exit_code = 31
    errno = errno.EBUSY
    summary = "another process owns the cache directory, or the endpoint's state directory"


class FormatError(CacheError):
    exit_code = 32
    summary = "a file of hardtack's has a format that this version doesn't know, or is damaged"


class DiskFull(CacheError):
    exit_code = 33
    errno = errno.ENOSPC
    summary = "there is not enough disk space"


class CorruptContent(CacheError):
    exit_code = 34
    summary = "cached bytes are damaged and can't be fetched anew"


class MountError(HardtackError):
    exit_code = 40
    summary = "mounting, unmounting or serving the mount failed"


class FuseMissing(MountError):
    exit_code = 41
    errno = errno.ENODEV
    summary = "FUSE can't be used here: no device, no permission, or no fusermount3"


class MountpointError(MountError):
    exit_code = 42
    errno = errno.ENOTDIR
    summary = "the mountpoint is missing, not empty, busy, or not a hardtack mount"


class MountUnhealthy(MountError):
    exit_code = 43
    errno = errno.ETIMEDOUT
    summary = "the mount doesn't answer in time"


class ManifestError(HardtackError):
    exit_code = 50
    summary = "a deployment file can't be read"


class LockError(HardtackError):
    exit_code = 51
    summary = "images.lock is missing, damaged, or of a newer format"


class BadReference(HardtackError):
    exit_code = 52
    errno = errno.EINVAL
    summary = "an image reference is malformed"


class RegistryError(HardtackError):
    exit_code = 60
    summary = "the registry answered with something that can't be used"


class BundleError(HardtackError):
    exit_code = 61
    summary = "a bundle is damaged or incomplete"


class ContainerdError(HardtackError):
    exit_code = 62
    summary = "containerd is absent, too old, or its store is damaged"


class PolicyError(HardtackError):
    exit_code = 70
    summary = "the policy configuration can't be used"


class ModelError(HardtackError):
    exit_code = 80
    errno = errno.EINVAL
    summary = "a model package is missing, incomplete, damaged, or says something unusable"


class PictureError(HardtackError):
    exit_code = 81
    errno = errno.EINVAL
    summary = "a picture can't be decoded, or is larger than allowed"


class EndpointError(HardtackError):
    exit_code = 90
    summary = "the endpoint or an inference server of its can't do what was asked"


class UpstreamError(EndpointError):
    exit_code = 91
    errno = errno.EHOSTUNREACH
    summary = "the endpoint's cloud can't be reached, or answers with something unusable"


class ClusterError(EndpointError):
    """`status` of the API server, 0 where it wasn't reached; `retry_after` seconds it asks for."""

    exit_code = 92
    errno = errno.EHOSTUNREACH
    summary = "the Kubernetes API server can't be reached, or refuses what was asked"

    def __init__(
        self, message: str, *, remedy: str = "", status: int = 0, retry_after: float = 0.0
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.retry_after = retry_after


class BoxError(HardtackError):
    exit_code = 95
    errno = errno.EPERM
    summary = "the box can't be prepared: a step of `box prepare` failed"


class JobError(HardtackError):
    exit_code = 96
    summary = "a small job of a deployment can't do its work: restarting k3s, say"


def in_words(error: BaseException) -> str:
    """Why something failed, in words: never the name of a class alone."""
    if isinstance(error, HardtackError):
        return error.message.rstrip(".")
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "the connection broke off"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    said = str(error).strip().rstrip(".")
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
    if isinstance(error, LookupError | TypeError | AttributeError | AssertionError) or not said:
        return f"an unexpected {kind}" + (f": {said}" if said else "")
    return "the reply broke off" if kind == "incomplete read" else said


def tree(root: type[HardtackError] = HardtackError) -> list[type[HardtackError]]:
    """Every class of the tree that is told to people (those of this file), by exit code."""
    found = [root]
    for child in root.__subclasses__():
        found += tree(child)
    return sorted((c for c in found if c.__module__ == __name__), key=lambda c: c.exit_code)
