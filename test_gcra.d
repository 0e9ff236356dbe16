test_gcra.o: tests/unit/test_gcra.c tests/unit/instants.h \
  src/core/limit.h src/core/gcra.h src/core/saturate.h

tests/unit/instants.h:

src/core/limit.h:

src/core/gcra.h:

src/core/saturate.h:
