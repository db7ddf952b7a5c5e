"""The consumer role: how a department's systems ask their agent, and how the agent asks others."""
