"""A new plugin from a name and a slot: an installable package that works before its first edit."""
