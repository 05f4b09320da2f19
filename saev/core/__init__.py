"""What every stage uses: errors, files, locks, logs, and the frame of a job."""
