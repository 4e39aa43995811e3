"""The listener: a terminal program that follows the events of chosen accounts."""
