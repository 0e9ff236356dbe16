"""A path on tmpfs for a table that outlives its daemon, in a folder of its own that is removed at the end.

    with TableFile() as path, Daemon(sets=[f"table.file={path}"]) as daemon: ...
"""
import os
import shutil
import tempfile


class TableFile:
    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="mete-table-", dir="/dev/shm")
        return os.path.join(self.folder, "table")

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)
