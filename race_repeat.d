race_repeat.o: tests/race/race_repeat.c src/engine/repeat.h \
  tests/race/race.h tests/lib/random.h src/sys/clock.h

src/engine/repeat.h:

tests/race/race.h:

tests/lib/random.h:

src/sys/clock.h:
