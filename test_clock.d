test_clock.o: tests/unit/test_clock.c src/sys/clock.h

src/sys/clock.h:
