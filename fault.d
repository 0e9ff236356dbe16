fault.o: tests/fault/fault.c tests/fault/fault.h tests/lib/random.h \
  src/sys/sandbox.h

tests/fault/fault.h:

tests/lib/random.h:

src/sys/sandbox.h:
