test_adopt.o: tests/unit/test_adopt.c src/replica/adopt.h \
  src/core/limit.h

src/replica/adopt.h:

src/core/limit.h:
