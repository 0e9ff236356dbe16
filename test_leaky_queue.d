test_leaky_queue.o: tests/unit/test_leaky_queue.c tests/unit/instants.h \
  src/core/limit.h

tests/unit/instants.h:

src/core/limit.h:
