"""The command's fixtures."""

from tests.support.command_region import context_file, person, region, shuqiao

__all__ = ["context_file", "person", "region", "shuqiao"]
