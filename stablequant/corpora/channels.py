"""Channels of recordings: how tables name them, and which one a name means."""

from collections.abc import Collection

from stablequant.corpora.entries import RowError

COLUMNS = ("channel", "channel_id", "audio_channel", "channel_selector")
SIDES = {"left": 0, "l": 0, "a": 0, "right": 1, "r": 1, "b": 1}  # A and B are the sides of a call, as in NIST's files


def channel_of(name: int | str, all_names: Collection[int | str | None], channels: int) -> int | None:
    """Number of the channel, from 0, of a file with ``channels``; None if it has only one.

    A ``name`` that is an integer counts from 0. Text is what a table says: left or right, A or B, or a number. Numbers
    count from 0 if the table has a 0, see ``all_names``; otherwise from 1, where the largest number shows it.

    Raises
    ------
    RowError
        when the file has no such channel, or when the table does not tell from where its numbers count.
    """
    number = name if isinstance(name, int) else SIDES.get(name.casefold())
    if number is None and (written := _number(name)) is not None:
        numbers = {found for other in all_names if (found := _number(other)) is not None}
        if 0 not in numbers and max(numbers) < channels:
            raise RowError(
                f"channel {name} of {channels}: the table does not tell whether its numbers count from 0 or from 1; "
                "write left or right, or A or B"
            )
        number = written - (0 not in numbers)
    if number is None:
        if channels == 1:  # the column may say something else, such as who published the recording
            return None
        raise RowError(f"'{str(name)[:40]}' is none of the file's {channels} channels; write left, right or a number")
    if not 0 <= number < channels:
        raise RowError(
            f"channel {name} of a file that has {channels}; if each channel became a file, remove the table's column"
        )
    return number if channels > 1 else None


def _number(name: object) -> int | None:
    try:
        number = float(str(name))
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
