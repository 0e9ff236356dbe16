test_replace.o: tests/unit/test_replace.c src/sys/replace.h

src/sys/replace.h:
