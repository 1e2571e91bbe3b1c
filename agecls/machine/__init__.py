"""What the machine offers to this process: processor, memory, disks; known without torch."""
