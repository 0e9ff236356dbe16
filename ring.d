ring.o: tests/fault/ring.c tests/fault/fault.h

tests/fault/fault.h:
