test_limit.o: tests/unit/test_limit.c src/core/limit.h

src/core/limit.h:
