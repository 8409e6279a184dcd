"""The exceptions a user sees, each a sentence that names the thing, the place and the way out."""

_OUT_OF_MEMORY = ("out of memory", "allocate memory", "not enough memory", "ALLOC_FAILED")


class Refusal(Exception):
    """Bad input or an impossible request; the command line prints it and exits 2."""


class GateFailed(Exception):
    """A rule over verdicts was not met; the command line prints it and exits 1."""


def one_line(error: object, most: int = 300) -> str:
    """What a library or another program says of a failure, as one line of at most so many characters."""
    return " ".join(str(error).split())[:most]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is too little memory; torch has no kind of its own for it on a processor."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)
