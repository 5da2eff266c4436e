"""Settings of every test."""

import os
import signal

from hypothesis import settings

# Tests run in several processes at once, in which the threads of a matrix product would wait for each other. Numpy
# reads this when it is imported.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

# Tables are as wide as in a file. GNU readline would tell every child of pytest that it has 80 columns.
os.environ["COLUMNS"] = "160"

# A shell that starts the tests in its background has them ignore Ctrl-C, and so would every child that a test
# interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Property tests draw the same examples in every run, and no slow machine fails them.
settings.register_profile("reproducible", derandomize=True, deadline=None, max_examples=100)
settings.load_profile("reproducible")
