"""The record after the run: verified, shown, and computed again."""
