"""What stat(2) shows of an entry. Pure."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from hardtack.cache.api import Entry, Kind
from hardtack.mount.wire import Attributes


@dataclass(frozen=True, slots=True)
class Look:
    """Owner and permission bits of everything in the mount."""

    uid: int = 0
    gid: int = 0
    file_mode: int = 0o444
    dir_mode: int = 0o555

    def attributes(self, entry: Entry) -> Attributes:
        """Those of a file, a directory or a link."""
        kind = entry.kind
        if kind is Kind.FILE:
            mode, nlink, size = stat.S_IFREG | self.file_mode, 1, entry.size
        elif kind is Kind.DIRECTORY:
            mode, nlink, size = stat.S_IFDIR | self.dir_mode, 2, 4096
        else:
            mode, nlink, size = stat.S_IFLNK | 0o777, 1, len(os.fsencode(entry.target))
        return Attributes(entry.id, size, entry.mtime_ns, mode, nlink, self.uid, self.gid)
