test_delta.o: tests/unit/test_delta.c src/replica/delta.h \
  src/core/limit.h src/core/merge.h

src/replica/delta.h:

src/core/limit.h:

src/core/merge.h:
