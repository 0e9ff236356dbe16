calls.o: tests/fault/calls.c tests/fault/fault.h

tests/fault/fault.h:
