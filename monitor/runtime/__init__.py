"""What a service needs of Python and the machine, whatever it does: repeating, slices, sockets, plug-ins."""
