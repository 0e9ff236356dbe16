race_table.o: tests/race/race_table.c tests/race/race.h \
  tests/lib/random.h src/sys/clock.h src/table/table.h \
  src/core/instant.h src/core/key.h src/core/limit.h

tests/race/race.h:

tests/lib/random.h:

src/sys/clock.h:

src/table/table.h:

src/core/instant.h:

src/core/key.h:

src/core/limit.h:
