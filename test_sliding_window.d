test_sliding_window.o: tests/unit/test_sliding_window.c \
  tests/unit/instants.h src/core/limit.h

tests/unit/instants.h:

src/core/limit.h:
