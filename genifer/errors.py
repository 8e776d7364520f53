"""Exceptions whose message is written for the user."""


class GeniferError(Exception):
    """Something the user can mend: names the setting or file, what is allowed, the next step."""

    exit_code = 1


class Interrupted(GeniferError):  # noqa: N818
    """A stage was told to stop and has written its state: the same command goes on.

    The exit code is that of ``EX_TEMPFAIL`` (sysexits.h): try again later.
    """

    exit_code = 75


class ProcessLost(GeniferError):  # noqa: N818
    """Another process of the same training has ended before its time, which stops this one."""

    exit_code = 76
