test_repeat.o: tests/unit/test_repeat.c src/engine/repeat.h

src/engine/repeat.h:
