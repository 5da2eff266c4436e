"""One thread at a time: a network that two threads use at once refuses the second, and mixes up no step."""

from array import array
from threading import RLock, get_ident

AT_WORK = "this network is at work in another thread: give each thread a network of its own, copy.deepcopy(network)"

OTHERS_FORWARD = (
    "the last forward pass is another thread's: run forward and backward in one thread, "
    "and give each thread a network of its own, copy.deepcopy(network)"
)

_OWNER, _CHANGING, _CHANGES = range(3)


class ThreadGuard:
    """Watches over the threads that use one network's parameters.

    A call that works on a step or on the parameters is between `enter` and `leave`, which the same thread may nest. It
    waits for no other thread. A forward pass belongs to the thread that ran it. A call that only reads parameters does
    not exclude others like it: it asks before and after whether they change.

    A copy of a network, or one that was pickled, has a guard of its own; a shallow copy shares it as it does the
    parameters.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        # Numbers in an array: an integer object that stayed would be 32 bytes more of a step.
        self._numbers = array("Q", [0, 0, 0])

    def __reduce__(self) -> tuple[type["ThreadGuard"], tuple[()]]:
        return ThreadGuard, ()

    def enter(self) -> None:
        """Begin a call; raise RuntimeError while another thread is in one. To be followed by `try`, and `leave`."""
        if not self._lock.acquire(False):
            raise RuntimeError(AT_WORK)

    def leave(self) -> None:
        """End what `enter` began."""
        self._lock.release()

    def enter_to_change(self) -> None:
        """Begin a call that changes parameters. To be followed by `try`, and `leave_changed`."""
        self.enter()
        self._numbers[_CHANGING] = 1

    def leave_changed(self) -> None:
        """End what `enter_to_change` began: the parameters have changed."""
        self._numbers[_CHANGES] += 1
        self._numbers[_CHANGING] = 0
        self._lock.release()

    def own_step(self) -> None:
        """Note that the step which begins is this thread's."""
        self._numbers[_OWNER] = get_ident()

    def require_own_step(self) -> None:
        """Raise RuntimeError if the last step was begun by another thread."""
        if self._numbers[_OWNER] != get_ident():
            raise RuntimeError(OTHERS_FORWARD)

    def begin_reading(self) -> int:
        """Return the number of changes so far; raise RuntimeError while another thread makes one."""
        if self._numbers[_CHANGING]:
            self.enter()
            self.leave()
        return self._numbers[_CHANGES]

    def end_reading(self, changes: int) -> None:
        """Raise RuntimeError if another thread has changed parameters, or begun to, since there were `changes`."""
        if self.begin_reading() != changes:
            raise RuntimeError(AT_WORK)
