import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # support.py

# A shell starts what it puts in the background with SIGINT ignored, and Python leaves it so.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
