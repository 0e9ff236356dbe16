test_concurrency.o: tests/unit/test_concurrency.c src/core/limit.h

src/core/limit.h:
