test_clock_steps.o: tests/unit/test_clock_steps.c src/sys/clock.h

src/sys/clock.h:
