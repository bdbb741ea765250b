"""Objects of the email-platform-storage bucket."""
