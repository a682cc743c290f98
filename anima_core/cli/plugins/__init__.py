"""`anima plugins`: what is installed, what it is, whether it is sound, and how to begin one."""
