"""Who may do what: roles per method, grants, guards, replay, refusals."""
