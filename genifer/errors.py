"""Exceptions whose message is written for the user."""


class GeniferError(Exception):
    """An error that the user can fix; the message names the setting or file, what is allowed, what to do."""

    exit_code = 1


class Interrupted(GeniferError):  # noqa: N818
    """A training was stopped by a signal and has written its resume state; the same command continues it.

    The exit code is that of ``EX_TEMPFAIL`` (sysexits.h): try again later.
    """

    exit_code = 75


class ProcessLost(GeniferError):  # noqa: N818
    """Another process of the same training ended early, which stops this one."""

    exit_code = 76
