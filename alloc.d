alloc.o: tests/fault/alloc.c tests/fault/fault.h

tests/fault/fault.h:
