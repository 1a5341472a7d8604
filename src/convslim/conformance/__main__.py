"""``python -m convslim.conformance``."""

if __name__ == "__main__":
    from convslim.conformance.app import app  # not above: the processes of single cases import this file, too

    app()
