"""The provider role: reads its own sources, maps and masks fields, journals what it answered."""
