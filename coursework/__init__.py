"""The coursework of the book: assignments, their grader, and the capstone's zoo of suspicious networks."""
