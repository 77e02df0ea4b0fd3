"""What hears the sentences that runs report, where a test does not read them."""


def silent(line):
    """Hear nothing."""


QUIET = {"report": silent}
