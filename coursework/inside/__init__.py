"""What runs inside the sandbox, next to a student's code. It knows no check and no expected value."""
