"""Schedules: which afters to hold, as pure functions over integers; see `signature` for what one is."""

from networks.schedules.signature import Keep, Schedule

__all__ = ["Keep", "Schedule"]
