"""Limits of the system, for tests of what happens when they are reached."""

import resource
import sys
from contextlib import contextmanager

import pytest


@contextmanager
def no_file_larger_than(nbytes):
    """For this process and those it starts. They write no bytecode, because CPython would leave it cut short."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        patch.setattr(sys, "dont_write_bytecode", True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
