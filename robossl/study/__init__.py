"""The transfer protocol: how far what was learned without reward carries to the tasks of a robot."""
