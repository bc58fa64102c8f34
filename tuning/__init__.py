"""The sweep: trials, tracking, the test split and what can be concluded from it."""
