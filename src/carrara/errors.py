"""The one exception a user sees: a sentence that names the thing, the place and the way out."""


class Refusal(Exception):
    """Bad input or an impossible request; the command line prints it and exits 2."""


class GateFailed(Exception):
    """A rule over verdicts was not met; the command line prints it and exits 1."""
