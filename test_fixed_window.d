test_fixed_window.o: tests/unit/test_fixed_window.c tests/unit/instants.h \
  src/core/limit.h

tests/unit/instants.h:

src/core/limit.h:
