"""Whoever asked first is let in first."""

from __future__ import annotations

from threading import Event, Thread

from db.fairness import FairLock


def test_turns_are_taken_in_the_order_of_asking() -> None:
    """One who comes again and again does not get in before those who wait."""
    lock, order = FairLock(10), list[str]()
    began, go_on = Event(), Event()

    def first() -> None:
        with lock.turn():
            began.set()
            go_on.wait(10)
            order.append("first")
        with lock.turn():
            order.append("first again")

    def other(name: str) -> None:
        with lock.turn():
            order.append(name)

    threads = [Thread(target=first)]
    threads[0].start()
    began.wait(10)
    for name in ("second", "third"):
        thread = Thread(target=other, args=(name,))
        thread.start()
        threads.append(thread)
        while len(lock._waiting) < len(threads) - 1:
            Event().wait(0.001)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "second", "third", "first again"]


def test_an_error_passes_the_turn_on() -> None:
    """Whoever fails inside does not keep the others out."""
    lock = FairLock(10)
    try:
        with lock.turn():
            raise LookupError("inside")
    except LookupError:
        pass
    with lock.turn():
        assert lock._is_taken
    assert not lock._is_taken


def test_nobody_waits_for_ever() -> None:
    """Who waited too long goes on without a turn, and takes nobody's away."""
    lock = FairLock(0.01)
    with lock.turn():
        with lock.turn():
            assert lock._is_taken
        assert lock._is_taken
    assert not lock._is_taken
