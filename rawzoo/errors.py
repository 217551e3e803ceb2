"""Errors a user can cause. Each message is one sentence: what is wrong, with which file or option, what to do."""


class RawzooError(Exception):
    """Base of every error rawzoo raises on purpose; the command line prints it as one line.

    ``exit_status`` is 1 when the work failed and 2 when the call itself was wrong.
    """

    exit_status = 1


class UsageError(RawzooError, ValueError):
    """An option or argument does not make sense; nothing was done."""

    exit_status = 2


class RawFileError(RawzooError):
    """A file is not a raw file, is damaged, or holds no image data that can be trusted."""


class PictureError(RawzooError):
    """A file is not a picture, is damaged, or is stored in a way rawzoo does not read."""


class PluginError(RawzooError):
    """A plugin could not be loaded, or two plugins claim one name."""


class WeightsError(RawzooError):
    """Weights are missing, do not match their checksum, or do not fit their model."""


class RawWarning(UserWarning):
    """The file left something out or stated something impossible; the message names what was assumed."""
