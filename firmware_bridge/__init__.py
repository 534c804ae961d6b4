"""The host half of the link to a microcontroller: empty until that link lands; motors and force sensors run as twins today."""
