"""`python -m harness`, and the command `checkpointing-lab`: the command line in its own process."""

import sys

from harness.errors import BAD_INPUT, MissingExtraError, end_at_once, naming_extras, run_in_order


def main() -> None:
    """Run the command line. The first signal ends it. A missing package is one line."""
    end_at_once()  # the imports take a second
    try:
        with naming_extras():
            from harness.commands.command_line import main as command_line  # everything it imports is in an extra

            run_in_order(command_line)
    except MissingExtraError as error:
        print(error, file=sys.stderr)
        sys.exit(BAD_INPUT)


if __name__ == "__main__":
    main()
