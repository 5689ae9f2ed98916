"""Wing — grading: a trusted side that judges, and a sandbox where students' code runs."""
