"""Hooks that are built in: loggers, which are made where a user asks for one."""
