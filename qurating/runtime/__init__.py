"""What a stage runs on: devices, processes, memory, the Hub; and the error that users can fix."""
