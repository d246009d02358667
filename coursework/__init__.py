"""The coursework: notebooks for students and teachers, and a grader that a submission cannot reach."""
