micro_table.o: bench/micro_table.c src/core/gcra.h src/core/limit.h \
  src/core/saturate.h tests/lib/random.h bench/micro.h src/table/table.h \
  src/core/instant.h src/core/key.h

src/core/gcra.h:

src/core/limit.h:

src/core/saturate.h:

tests/lib/random.h:

bench/micro.h:

src/table/table.h:

src/core/instant.h:

src/core/key.h:
