"""The one exception whose message is written for the user."""


class GeniferError(Exception):
    """Something the user can mend: names the setting or file, what is allowed, the next step."""
