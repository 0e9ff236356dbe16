race_publish.o: tests/race/race_publish.c src/config/publish.h \
  src/engine/quota.h src/core/limit.h tests/race/race.h \
  tests/lib/random.h src/sys/clock.h src/table/owners.h \
  src/table/table.h src/core/instant.h src/core/key.h

src/config/publish.h:

src/engine/quota.h:

src/core/limit.h:

tests/race/race.h:

tests/lib/random.h:

src/sys/clock.h:

src/table/owners.h:

src/table/table.h:

src/core/instant.h:

src/core/key.h:
