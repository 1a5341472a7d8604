"""`python -m convslim.cli`, for torchrun."""

from convslim.cli.app import app

if __name__ == "__main__":
    app()
