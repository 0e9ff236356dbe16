test_key.o: tests/unit/test_key.c src/core/key.h

src/core/key.h:
